"""Benches: what a claim is about, to be changed by hand below the claim. Each is one file of `kinds/` that declares
itself, one script, and its words in the language files."""
