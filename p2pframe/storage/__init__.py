"""What survives a crash: built-in plugins of `IStorage`, one file each."""
