"""What the harness costs, measured beside others."""
