"""Held-out success, intervals, fair comparisons."""
