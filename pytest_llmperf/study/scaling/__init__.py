"""How throughput grows with the number of agents: a scaling law, its intervals, and where it does not fit."""
