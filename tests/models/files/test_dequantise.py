"""Dequantised tensors equal the gguf package's, to the bit, also where a tensor is more than one go."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind

from lmworks.models.files.dequantise import AT_ONCE, dequantised
from lmworks.models.files.gguf_file import GGUFFile


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", [Kind.F32, Kind.F16, Kind.BF16, Kind.Q4_0, Kind.Q4_1, Kind.Q5_1, Kind.Q8_0, Kind.Q4_K])
def test_it_equals_the_public_package(kind: Kind, dtype: torch.dtype, tmp_path: Path):
    block, size = gguf.GGML_QUANT_SIZES[kind]
    random = np.random.default_rng(0)
    rows, columns = 33, 32 * (AT_ONCE // 32 + 8)  # more blocks of 32 than fit into one go
    if kind in (Kind.F32, Kind.F16, Kind.BF16, Kind.Q4_0, Kind.Q4_1, Kind.Q8_0):
        data = gguf.quantize(random.standard_normal((rows, columns), np.float32), kind)
    else:  # the package does not write these: any bytes whose scales are finite
        data = random.integers(0, 0x3C, (rows, columns // block * size), np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "one.gguf", "llama")
    writer.add_tensor("one", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    expected = torch.from_numpy(gguf.dequantize(data, kind)).to(dtype)
    assert expected.isfinite().all() and expected.float().std() > 0
    assert torch.equal(dequantised(GGUFFile(tmp_path / "one.gguf"), "one", dtype), expected)
