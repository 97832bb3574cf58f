"""What secures or multiplexes a stream: built-in plugins of `IUpgrade`, one file each."""
