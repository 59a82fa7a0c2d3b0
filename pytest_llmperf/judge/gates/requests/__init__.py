"""Gates on single requests: percentiles and goodput."""
