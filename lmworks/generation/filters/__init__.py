"""The steps between a network's logits and the next token's distribution, one file each.

A file declares a `Filter` (which tokens stay; for `lm.Sample` alone) or an `Adjustment` (how logits change given the
text so far; for every strategy). Strategies, command line, server and `lmworks explain sample` read the declarations.
"""
