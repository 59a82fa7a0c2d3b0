"""Agents on several hosts: what their clocks have in common."""
