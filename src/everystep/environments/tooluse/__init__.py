"""Tools: calls, plans over graphs of tools, desks with their tools."""
