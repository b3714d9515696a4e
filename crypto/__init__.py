"""Signing, sealing, keys, certificates and logs.

Everything else rests on this package, and it rests on no other of this repository.
"""
