"""Bitcoin: its wire messages, its chain rules, and the protocol plugin that speaks them."""
