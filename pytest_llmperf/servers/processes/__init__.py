"""Server processes that the plugin starts, each with a supervisor that stops it."""
