"""Models of language that are no transformer: recurrent networks, n-grams, word vectors."""
