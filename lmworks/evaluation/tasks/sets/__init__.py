"""The public sets: one file each, which declares itself."""
