"""Vector instructions, and what several operations are written with.

instructions.py     which instruction set the kernels are compiled for (no numba)
vectors.py          vectors of 16 numbers as LLVM instructions
scalars.py          single numbers at an address, atomic ones too; how functions are compiled
calls.py            an operation's functions called by their addresses
attention_page.py   attention over one page of the cache
softmax.py          probabilities of a row of logits that are not written down, and a token drawn from them
"""
