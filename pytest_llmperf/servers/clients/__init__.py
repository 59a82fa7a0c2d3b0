"""Clients for requests that are not timed, one for each API."""
