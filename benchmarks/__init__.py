"""Side-by-side timings against peers: `make bench`, or `python -m benchmarks decode lora`."""
