"""The texts that are known by name, one file for each kind; `ENTRIES` of a file of this folder is found by itself."""
