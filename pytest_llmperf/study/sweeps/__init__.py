"""A matrix measured cell by cell, and its results."""
