"""Code and commands: programs that are written, mended and run in the sandbox, SQL."""
