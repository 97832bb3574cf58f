"""Core: what hosts the plugins of a node. It knows interfaces, never a plugin."""
