"""Real images: outlines, and a stream of them."""
