"""The stopwatch: sends agents' requests, records when bytes arrive, and decodes them after the clock has stopped."""
