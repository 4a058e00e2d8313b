"""Positional encodings: how a network knows the order of tokens. Each file declares one (`encoding.py` says how)."""
