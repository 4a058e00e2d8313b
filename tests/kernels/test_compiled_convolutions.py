"""Short convolutions on their tape: pages, outliers, faults, files. Pages that are shared, copied, joined and kept, and
answers beside others: test_other_caches.py. How near states are to PyTorch's, and threads: test_engine.py and
test_team.py, with LFM2 among their kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

pytest.importorskip("numba")

from gguf import GGMLQuantizationType as Kind
from models.files.test_gguf import write
from other_caches import CONVOLUTIONS, model_of, running
from test_engine import apart, scattered_outliers  # noqa: F401 (used for every test)

from lmworks.generation.engine import Engine
from lmworks.kernels import compiled, unavailable
from lmworks.kernels.outlier_search import outliers
from lmworks.kernels.packing import Unchanged, unpacked
from lmworks.models.adapted import own_parameters
from lmworks.models.files.gguf import read_gguf_network
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_groups import StoredInGGUF

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

SHAPE = CONVOLUTIONS


@torch.no_grad()
def test_a_page_holds_what_each_layer_keeps_and_no_more():
    """A layer with a convolution keeps 64 numbers of a token, one with attention 32 of its key and 32 of its value;
    with more heads of these, twice as many."""
    for kv_heads, numbers in ((2, 64 + 64 + 64), (4, 64 + 128 + 64)):
        runner = running(SHAPE, kv_heads=kv_heads)
        cache = runner.new_cache(1)
        runner.read(np.full((1, 65), 3), cache)
        assert cache.bytes == 2 * 64 * 2 * numbers
        assert runner.token_bytes == 2 * numbers == 2 * runner.config.cached_numbers
    model = model_of(SHAPE)
    with Engine(model, seats=1, prefix_bytes=0) as engine:
        most = engine.most_cache_bytes
    cache = model.runner.new_cache(1)
    model.runner.read(np.full((1, 256), 3), cache)
    assert cache.bytes == most


@torch.no_grad()
def test_outliers_are_found_before_and_after_a_convolution():
    plain = tiny.network(**SHAPE).requires_grad_(False)
    plain.blocks[2].attention_norm.weight[7] = 60.0  # type: ignore[index]
    plain.blocks[2].attention.kernel[9] *= 500.0  # type: ignore[operator]
    found = outliers(plain)
    assert 7 in found["blocks.2.attention.inward.weight"] and 9 in found["blocks.2.attention.outward.weight"]


@torch.no_grad()
def test_a_fault_of_a_kernel_shows():
    plain = tiny.network(**SHAPE).requires_grad_(False)
    plain.blocks[2].attention.kernel[5, 0, 1] = torch.nan  # type: ignore[index, operator]
    states = compiled(plain, 8).hidden(tiny.text(1, 6), None, None)[0]
    assert [bool(one.isnan().any()) for one in states] == [False] * 3 + [True] * 3, "from where a token is so far away"


@torch.no_grad()
def test_a_file_runs_in_its_own_bits(tmp_path: Path):
    """With kernels as the file has them, though the network holds them in bfloat16."""
    write(tmp_path / "lfm2.gguf", tiny.network(**SHAPE, family="lfm2"), Kind.Q8_0)
    file = GGUFFile(tmp_path / "lfm2.gguf")
    network, exact = (read_gguf_network(file, dtype).eval() for dtype in (torch.bfloat16, torch.float32))
    stored = Unchanged(StoredInGGUF(file, network.config), own_parameters(network))
    engine = compiled(network.requires_grad_(False), 8, stored)
    for name, matrix in engine.weights.matrices.items():
        assert torch.equal(unpacked(matrix), exact.get_parameter(name)), name
    kernel = exact.get_parameter("blocks.0.attention.kernel")
    assert engine.weights.vectors["blocks.0.attention.kernel"].tolist() == kernel[:, 0].T.flatten().tolist()
    assert not torch.equal(network.get_parameter("blocks.0.attention.kernel").float(), kernel)
    tokens = tiny.text(1, 40)
    assert apart(engine.hidden(tokens, None, None), exact.hidden(tokens)) < 0.05
