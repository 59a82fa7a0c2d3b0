"""The lock of this machine: at most one measurement at a time."""
