"""The experiments, one file a claim."""
