"""Change a trained model: low-rank adapters, their PEFT format, and a fast training path for them."""
