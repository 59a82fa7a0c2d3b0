"""Metrics: catalogue, formulas, and their values over rounds."""
