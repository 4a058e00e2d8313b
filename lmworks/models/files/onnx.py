"""Weights from ONNX files as PyTorch names and shapes them, dequantised where they are 8-bit.

An export keeps the names of modules in those of nodes and loses those of matrices: "onnx::MatMul_1525" belongs to the
node "/encoder/layer.0/attention/self/query/MatMul", and so is `encoder.layer.0.attention.self.query.weight`, turned.
Quantised as onnxruntime does: weight = (stored - zero point) * scale, one of each for a tensor or for a column.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmworks.basics.memory import must_fit
from lmworks.models.files.onnx_file import Node, ONNXFile

QUANTISED, SCALE, ZERO = "_quantized", "_scale", "_zero_point"
PRODUCTS = ("MatMul", "MatMulInteger", "Gemm")
"""Nodes whose second input is a matrix that PyTorch keeps turned."""


def read_onnx(path: Path) -> dict[str, Tensor]:
    """All weights of a file by their PyTorch names, in float32; other numbers as they are. ModelError where it is
    damaged, or a matrix has no name."""
    file = ONNXFile(path)
    must_fit(str(path), 4 * sum(tensor.size for tensor in file.tensors.values()))
    names, turned = _products(file)
    weights: dict[str, Tensor] = {}
    for stored in file.tensors:
        if (
            stored.endswith((SCALE, ZERO))
            and stored.rpartition("_")[0].removesuffix("_zero") + QUANTISED in file.tensors
        ):
            continue
        held = _values(file, stored)
        name = names.get(stored, stored.removesuffix(QUANTISED))
        if name in weights:
            raise file.damaged(f"has two weights for {name}")
        weights[name] = torch.from_numpy(np.array(held.T if stored in turned else held))
    return weights


def _products(file: ONNXFile) -> tuple[dict[str, str], set[str]]:
    """The names of matrices that have none of their own, and which ones are turned."""
    names: dict[str, str] = {}
    turned: set[str] = set()
    for node in file.nodes:
        if node.kind not in PRODUCTS or len(node.inputs) < 2 or node.inputs[1] not in file.tensors:
            continue
        stored = node.inputs[1]
        if not node.numbers.get("transB"):
            turned.add(stored)
        if "::" in stored:
            if stored in names:
                raise file.damaged(f"multiplies by {stored} in two places")
            names[stored] = _weight_of(node, file)
    return names, turned


def _weight_of(node: Node, file: ONNXFile) -> str:
    """The weight of the module that a node stands for: "/encoder/layer.0/output/dense/MatMul_quant"."""
    module = node.name.rpartition("/")[0].strip("/").replace("/", ".")
    if not module:
        raise file.damaged(f"multiplies by {node.inputs[1]} and does not say in which module")
    return f"{module}.weight"


def _values(file: ONNXFile, stored: str) -> NDArray[np.generic]:
    """A tensor's values; floats in float32."""
    held = file.tensors[stored]
    if stored.endswith(QUANTISED):
        base = stored.removesuffix(QUANTISED)
        scale, zero = file.tensors.get(base + SCALE), file.tensors.get(base + ZERO)
        if scale is None or zero is None or not {scale.size, zero.size} <= {1, held.shape[-1] if held.ndim else 1}:
            raise file.damaged(f"has no scale that fits {base}")
        scale, zero = (one.reshape(-1) if held.ndim else one.reshape(()) for one in (scale, zero))
        return (held.astype(np.float32) - zero.astype(np.float32)) * scale.astype(np.float32)
    return held.astype(np.float32) if held.dtype.kind == "f" else held
