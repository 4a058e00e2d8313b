"""llama2.c's files: read whole or refused in a sentence."""

from __future__ import annotations

import struct

import pytest
import torch

from lmworks.basics.errors import ModelError
from lmworks.models.files.llama2c import HEADER, llama2c_vocabulary, read_llama2c

DIM, HIDDEN, LAYERS, HEADS, KV, VOCABULARY, CONTEXT = 16, 24, 2, 4, 2, 12, 8
WIDE, NARROW, PAIRS = DIM, DIM // 2, DIM // HEADS // 2


def content(tied: bool = True) -> bytes:
    """A file of small random weights; each tensor in llama2.c's order."""
    per_layer = DIM * WIDE + 2 * DIM * NARROW + WIDE * DIM + 2 * DIM + 3 * DIM * HIDDEN
    size = VOCABULARY * DIM * (1 if tied else 2) + LAYERS * per_layer + DIM + 2 * CONTEXT * PAIRS
    numbers = torch.rand(size, generator=torch.Generator().manual_seed(0)) * 0.1
    header = (DIM, HIDDEN, LAYERS, HEADS, KV, VOCABULARY if tied else -VOCABULARY, CONTEXT)
    return HEADER.pack(*header) + numbers.numpy().tobytes()


@pytest.mark.parametrize("tied", [True, False])
def test_a_whole_file_is_a_network_of_its_shape(tied):
    network = read_llama2c(content(tied))
    config = network.config
    assert (config.dim, config.layers, config.heads, config.kv_heads, config.tied) == (DIM, LAYERS, HEADS, KV, tied)
    assert network(torch.tensor([[1, 2, 3]])).shape == (1, 3, VOCABULARY)


@pytest.mark.parametrize("change", [lambda file: file[:-4], lambda file: file + bytes(4), lambda file: file[:20]])
def test_a_file_of_another_size_is_refused(change):
    with pytest.raises(ModelError, match="another size than their header says"):
        read_llama2c(change(content()))


def test_a_vocabulary_that_is_cut_off_is_refused():
    whole = struct.pack("<i", 4) + b"".join(struct.pack("<fi", 0.0, 1) + bytes([65 + at]) for at in range(20))
    with pytest.raises(ModelError, match="small's tokenizer ends in the middle of a piece"):
        llama2c_vocabulary(whole[:-1], "small")
