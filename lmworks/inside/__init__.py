"""Looking inside a network: heads, Jacobians, a backward pass written out."""
