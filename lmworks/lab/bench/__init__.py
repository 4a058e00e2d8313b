"""What experiments share: small networks, texts and their writers."""
