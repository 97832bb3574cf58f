"""What the bytes mean: built-in plugins of `INetworkProtocol`, one folder each."""
