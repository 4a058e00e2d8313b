"""The bench: small networks, texts and trained writers that experiments share."""
