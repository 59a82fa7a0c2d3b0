"""Checks of servers: consistency, distinctness, foreign traffic, facts."""
