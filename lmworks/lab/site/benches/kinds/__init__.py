"""The benches, a file each."""
