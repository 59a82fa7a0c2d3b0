"""Results in words, tables and files; reads measurements and verdicts, decides nothing."""
