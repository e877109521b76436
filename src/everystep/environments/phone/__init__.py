"""Screens of phones: exact small ones, devices, and what people did on theirs."""
