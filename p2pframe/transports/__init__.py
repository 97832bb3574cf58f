"""How byte streams travel: built-in plugins of `ITransport`, one file each."""
