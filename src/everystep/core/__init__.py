"""Records, trace, protocols, budgets, errors: the standard library only."""
