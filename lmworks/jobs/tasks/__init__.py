"""What objectives bring to a run of `lmworks train` beside their loss: data, rows, figures, a sample."""
