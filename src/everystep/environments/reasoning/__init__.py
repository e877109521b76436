"""Questions, procedures and arithmetic: what is answered rather than acted in."""
