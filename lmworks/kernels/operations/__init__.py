"""The operations of a tape, one file each: what it is, its operands, how a tape asks for it, its compiled functions.

A file that declares an `Operation` adds one (lmworks/kernels/operation.py); docs/kernels.md walks through it.
"""
