"""Differentially private training: what a run may tell of any one document is bounded by epsilon and delta."""
