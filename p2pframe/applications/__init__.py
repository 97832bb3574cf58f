"""What is it for: built-in plugins of `IApplication`, one file each. They may use a protocol's `api`."""
