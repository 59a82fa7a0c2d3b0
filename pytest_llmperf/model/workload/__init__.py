"""What agents do, and where."""
