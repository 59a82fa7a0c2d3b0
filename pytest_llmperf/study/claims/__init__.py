"""Claims of a report, checked against rows."""
