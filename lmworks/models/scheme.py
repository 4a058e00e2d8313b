"""The ways in which fresh weights are drawn (`lmworks.models.initialisation`)."""

from __future__ import annotations

from typing import Literal

Scheme = Literal["normal", "zero-output", "width"]
"""The standard deviation of each matrix.

normal: 0.02, and for the projections back into the residual stream this divided by the root of their number (Radford et
al. 2019, section 2.3).

zero-output (modded-nanogpt, nanochat): those projections and an untied head start at zero, so that each block first
passes on its input; other matrices by their width; embeddings 1 (0.02 where they are the head too, 0.3 for n-grams). It
needs a norm over each matrix's input.

width: each matrix's output is as large as its input, the feed-forward's last one enlarged by what the activation takes
away (LeCun et al. 1998, section 4.6; He et al. 2015, https://arxiv.org/abs/1502.01852), and what writes into a residual
stream divided by the root of its number; embeddings 1, or by their width where they are the head too. For deep networks
without norms, in which the signal would die out or blow up with the others.
"""
