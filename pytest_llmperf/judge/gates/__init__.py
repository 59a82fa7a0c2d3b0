"""Gates: from a marker to a limit, and from rounds to a verdict."""
