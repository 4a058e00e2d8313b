"""From logits to text: strategies, the decoding loop, and LanguageModel, which ties network and tokens."""
