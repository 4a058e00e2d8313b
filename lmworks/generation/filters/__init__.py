"""The steps between a network's logits and the next token's distribution, one file each.

A file declares a `Filter` (which tokens stay, `lm.Sample` alone) or an `Adjustment` (how logits change given the text so
far, every strategy). Strategies, the command line, the server's fields and `lmworks explain sample` read the declaration.
"""
