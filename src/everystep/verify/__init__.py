"""Is this step right? Flags, rules, judges, calibration, forecasts."""
