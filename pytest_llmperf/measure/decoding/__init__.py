"""Turns raw bytes with arrival times into request timings, after the clock has stopped."""
