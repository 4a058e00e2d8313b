"""Documents and facts that a model answers from: chunks, an index of keywords and vectors, passages."""
