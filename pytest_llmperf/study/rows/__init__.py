"""Rows of results, one per round, and figures over them."""
