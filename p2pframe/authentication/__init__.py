"""Who is let in: built-in plugins of `IAuthenticator`, one file each."""
