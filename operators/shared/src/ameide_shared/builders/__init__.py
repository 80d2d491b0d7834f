"""Builders: pure functions from a spec to one child manifest each, with no client, no clock and no randomness."""
