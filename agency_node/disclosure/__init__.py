"""Asking other agencies, and answering them: requests, decisions, releases, receipts, retention."""
