"""Baseline files: found, read, changed, and compared with this machine."""
