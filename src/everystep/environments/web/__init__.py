"""Web pages: in a real browser, and a shop in text."""
