"""Capacity, break-even and total cost of deployments."""
