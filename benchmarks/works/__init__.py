"""What `python -m benchmarks` measures: a file for each kind of work, which declares it."""
