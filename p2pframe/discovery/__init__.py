"""Where peers are: built-in plugins of `IDiscovery`, one file each."""
