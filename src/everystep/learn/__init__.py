"""Samples, losses, packing and the learner. Nothing here knows a method's name."""
