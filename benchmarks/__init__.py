"""The harness measured by itself: what it costs, and how often its verdicts are wrong."""
