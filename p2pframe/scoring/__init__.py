"""What the facts about a peer are worth: built-in plugins of `IScorer`, one file each."""
