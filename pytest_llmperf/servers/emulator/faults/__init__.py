"""What goes wrong with the simulated server on demand: `plan` reads it, `instance` does it, `answer` spoils answers."""
