"""The simulator: the same YAML and plugin classes, a thousand nodes, deterministic, faster than real time."""
