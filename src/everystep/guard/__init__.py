"""May this act happen? Autonomy, approval, feasibility, secrets, drift, audit."""
