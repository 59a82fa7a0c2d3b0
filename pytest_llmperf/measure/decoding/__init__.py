"""From raw bytes with arrival times to request timings, after the clock has stopped."""
