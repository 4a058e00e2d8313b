"""The number format in which this processor is fastest."""

from __future__ import annotations

import pytest
import torch

from lmworks.models import precision


@pytest.mark.parametrize(
    ("tiles", "vectors", "amd", "dtype"),
    [
        (True, True, False, torch.bfloat16),
        (False, True, True, torch.bfloat16),
        (False, True, False, torch.float32),
        (False, False, True, torch.float32),
    ],
)
def test_bfloat16_is_taken_where_it_is_faster(monkeypatch, tiles: bool, vectors: bool, amd: bool, dtype: torch.dtype):
    for name, there in (("amx_tile", tiles), ("avx512_bf16", vectors)):
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda there=there: there, raising=False)
    monkeypatch.setattr(precision, "_is_of_amd", lambda: amd)
    assert precision.fast_dtype() is dtype
