"""How throughput grows with the number of agents: a scaling law, its intervals, and departures from it."""
