"""Tokenizers, chat templates, streaming and packing."""
