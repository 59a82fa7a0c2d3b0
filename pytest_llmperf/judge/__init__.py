"""The wing that judges: metrics, statistics, baselines, gates. It imports nothing here, for the sake of collection."""
