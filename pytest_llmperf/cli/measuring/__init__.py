"""Commands that measure without a test."""
