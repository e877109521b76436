"""Benchmarks: cases, who attempts them, measures with their published definitions, and how they are run."""
