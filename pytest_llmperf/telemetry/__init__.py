"""Looks at the machine beside the rounds, off the timed path; imports only errors and model."""
