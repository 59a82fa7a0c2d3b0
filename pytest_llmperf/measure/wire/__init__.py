"""The timed path: requests as bytes, and the arrival times of the bytes of their answers."""
