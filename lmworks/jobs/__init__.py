"""What a verb does: build, train, compress, export, sweep; their recipes, runs and planning."""
