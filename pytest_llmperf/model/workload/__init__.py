"""The work of agents, and the servers that they use."""
