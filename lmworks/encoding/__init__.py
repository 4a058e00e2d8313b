"""From text to vectors, labels and filled gaps."""
