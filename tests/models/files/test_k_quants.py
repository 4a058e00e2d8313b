"""Rounding to K-quants: files hold what was rounded, and inputs that count lose less."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch
from frames import numbers

from lmworks.models.files.gguf_blocks import stored_groups
from lmworks.models.files.gguf_kinds import Kind
from lmworks.models.files.k_quants import rounded, to_k_blocks

ERRORS = {Kind.Q4_K: 0.08, Kind.Q5_K: 0.04, Kind.Q6_K: 0.02}
"""Of normal numbers, as a share of them; ggml's own Q4_K errs by 0.07."""


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.name)
def test_blocks_hold_what_was_rounded(kind: Kind):
    weight = numbers(3, 512, scale=0.05)
    weight[0, :256] = 0
    weight[1, :32] = 0.25
    groups = rounded(weight, kind)
    blocks = to_k_blocks(groups, kind)
    np.testing.assert_array_equal(gguf.dequantize(blocks.numpy(), kind), groups.weights().numpy())
    back = stored_groups(blocks, kind)
    assert back is not None and torch.equal(back.values, groups.values) and torch.equal(back.scale, groups.scale)
    assert (groups.weights() - weight).norm() < ERRORS[kind] * weight.norm()
    assert groups.weights()[0, :256].abs().max() == 0


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.name)
def test_inputs_that_count_lose_less(kind: Kind):
    weight, counts = numbers(32, 512), numbers(512, seed=1).square() ** 2
    plain, weighted = (
        ((rounded(weight, kind, one).weights() - weight).square() * counts).sum() for one in (None, counts)
    )
    assert weighted < 0.9 * plain
