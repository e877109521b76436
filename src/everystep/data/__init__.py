"""Stored steps: read from the traces of other tools, filtered, paired."""
