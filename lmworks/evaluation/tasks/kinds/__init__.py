"""The kinds of item: one file each, which declares itself."""
