"""External agents, callables and commands, run behind the tap."""
