"""Which peers to hold: built-in plugins of `ITopology`, one file each."""
