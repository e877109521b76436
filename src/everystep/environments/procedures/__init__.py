"""Procedures that are carried out step by step: the families of ProcBench, drawn without end."""
