"""Agents in other languages: the table that lists them, and their builds."""
