"""Samples the machine while rounds run, off the timed path."""
