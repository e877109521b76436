"""Modules whose optional package is not in the test environment are not collected for doctests."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("ray") else ["src/everystep/run/pool_ray.py"]
