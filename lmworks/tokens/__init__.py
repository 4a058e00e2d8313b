"""Tokenizers, chat templates, streaming decoder and packing: from text to token batches."""
