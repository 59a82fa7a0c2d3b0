"""The stopwatch: sends agents' requests, notes when bytes arrive, and decodes them after the clock has stopped."""
