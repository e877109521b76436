"""ScreenGrid: small screen apps for learning on a laptop."""
