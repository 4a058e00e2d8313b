"""What networks that were trained on pairs of texts tell: the classes of `lmworks.tokens.sentence_pairs`."""

from __future__ import annotations

NEXT_SENTENCE = ("next", "random")
"""Classes of a pair, in BERT's order: 0 where the second text goes on from the first."""
SENTENCE_ORDER = ("in order", "swapped")
"""Classes of a pair, in ALBERT's order."""
OF_PAIRS = (NEXT_SENTENCE, SENTENCE_ORDER)
"""The classes of networks that were trained on pairs of texts, and tell nothing of a single one."""
