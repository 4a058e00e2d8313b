"""Model files, read and written: directories, GGUF, packed weights; and what a model reference names."""
