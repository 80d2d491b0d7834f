"""Measures Domain operators from outside, on throw-away control planes: requests, time, processor and memory."""
