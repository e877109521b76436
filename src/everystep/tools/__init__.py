"""Tools that an agent calls, and the environment that they make together."""
