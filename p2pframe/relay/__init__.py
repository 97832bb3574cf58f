"""Who is told of an item, when and how: built-in plugins of `IRelayPolicy`, one file each."""
