"""The quantisations of packed matrices, one file each (lmworks/kernels/quantisation.py)."""
