"""One measurement: its arms, their rounds until every gate is decided, recovery from faults, checks afterwards."""
