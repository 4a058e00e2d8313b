"""Networks that read images: patches for the house's blocks, two towers for images and texts, convolutions."""
