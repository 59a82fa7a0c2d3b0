"""The results of measurements."""
