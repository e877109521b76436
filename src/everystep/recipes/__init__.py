"""One published system a file, over the shared parts."""
