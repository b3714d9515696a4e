"""Simulators: real parts wired small, for tests."""
