"""Worlds that agents act in: adapters around existing engines and a few small exact ones."""
