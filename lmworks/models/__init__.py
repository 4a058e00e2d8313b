"""The transformer network, the public families it reads and writes, and where models come from."""
