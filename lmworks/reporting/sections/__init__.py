"""The sections: one file each, which declares itself."""
