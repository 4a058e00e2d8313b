"""Search over a recipe's settings: a space, trials that share a text, a study that several workers can share."""
