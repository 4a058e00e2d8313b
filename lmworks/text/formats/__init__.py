"""Kinds of files and how each is read, one file each: it declares a `Format` with its suffixes."""
