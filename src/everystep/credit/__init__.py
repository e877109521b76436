"""One additive rule that gives every step its share of the credit."""
