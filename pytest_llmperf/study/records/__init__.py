"""The records of the report's appendix S."""
