"""Servicers: wire to domain, one call of a service, domain to wire. Nothing is decided here."""
