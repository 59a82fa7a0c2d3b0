"""What comes of the tests: outcomes by their gates, the summary, the files, entries of tests that are gone."""
