"""Diagnosis: what made a verdict fail, and what to try next."""
