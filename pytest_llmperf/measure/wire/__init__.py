"""The timed path: requests as bytes, and when the bytes of their answers arrived."""
