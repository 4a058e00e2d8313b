"""Images and their captions as Documents, and the sets of images that are known by name (extra `vision`)."""
