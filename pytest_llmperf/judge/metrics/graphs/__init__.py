"""Metrics of graphs of agents: makespan, critical path, graph efficiency."""
