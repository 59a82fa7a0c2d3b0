"""Agents of a part: ours, and programs that we did not write."""
