"""The rule for changes: how much worse than before, and with what confidence."""
