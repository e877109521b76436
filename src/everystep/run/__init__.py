"""Rolling out episodes, and the journal that survives a crash."""
