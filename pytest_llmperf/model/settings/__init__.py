"""What a session was asked to do."""
