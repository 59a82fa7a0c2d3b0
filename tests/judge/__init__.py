"""Tests of the judging wing."""
