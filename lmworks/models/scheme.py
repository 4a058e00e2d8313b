"""The ways in which fresh weights are drawn (`lmworks.models.initialisation`)."""

from __future__ import annotations

from typing import Literal

Scheme = Literal["normal", "zero-output", "width"]
"""normal: deviation 0.02; the projections back into the residual stream smaller by the root of their number (Radford et
al. 2019, section 2.3). zero-output: those projections and an untied head begin at zero, so that each block first hands
on what it got; other matrices by their width, embeddings with deviation 1 (0.02 where they are the head too, 0.3 for
n-grams). The second is that of modded-nanogpt and nanochat, and wants a norm over each matrix's input. width: each
matrix gives out numbers as large as those it gets, the feed-forward's last one made larger by what the activation takes
away (LeCun et al. 1998, section 4.6; He et al. 2015, https://arxiv.org/abs/1502.01852), and what writes into a residual
stream smaller by the root of its number; embeddings with deviation 1, or by their width where they are the head too. It
is for networks that are deep without norms, where with another one nothing arrives."""
