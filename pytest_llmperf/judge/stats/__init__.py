"""Statistics: summaries, distributions, confidence intervals, change points."""
