"""Writes files completely or not at all, and reads them strictly."""
