"""Results of the tests: their outcomes by gates, the summary, the files, stored entries of removed tests."""
