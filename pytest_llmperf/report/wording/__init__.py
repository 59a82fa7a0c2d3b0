"""Verdicts, notes and baselines in sentences, for the terminal and for files."""
