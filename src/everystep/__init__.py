"""Everystep: agents that get long tasks right, one step at a time.

Read in this order: ``core.records``, ``core.trace``, ``run.rollout``, ``credit.terms``, ``recipes.grpo``.
Importing this package loads no torch.
"""

__version__ = "0.1.0"
