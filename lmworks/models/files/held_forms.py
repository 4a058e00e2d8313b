"""In which of the kernels' quantisations the matrices of a directory will run that others compressed, told by the
headers of its files. Nothing here waits for PyTorch.

GPTQ and AWQ keep codes of 4 bits, a scale and a zero point for some inputs: weight = (code - zero) * scale. The kernels
have of that, each to the bit,
    int4_128    groups of 128: whole numbers beside one scale
    int4        groups of 32: the minimum is -zero * scale in float16, which holds it where the zero point is a power of
                two, as 8, the middle: GPTQ's `sym`
    int5        groups of 32: code - zero, from -16 to 15, and so a minimum of -16 * scale, which is always held
compressed-tensors' symmetric groups run in their 4 or 8 bits (int4, int8), packed or not, where float16 holds the
scales, and those of 4 bits with zero points as AWQ's do. What nothing holds is rounded to int8: 8 bits with zero
points, and GPTQ's matrices whose groups are not of neighbouring inputs (`desc_act`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from lmworks.models.files.safetensors_header import Described

GROUP, RUN = 32, 128
"""Inputs that share a scale in the kernels; in int4_128."""
ROUNDED = "int8"
"""What is held in no form is rounded to."""


@dataclass
class HeldForms:
    """How many weights will run in which quantisation."""

    weights: dict[str, int] = field(default_factory=dict)
    """By the quantisation's name."""
    rounded: bool = False
    """Are matrices among them that are stored in few bits and rounded to others?"""

    def add(self, form: str, count: int) -> None:
        """Count some."""
        self.weights[form] = self.weights.get(form, 0) + count


def held_forms(tensors: Mapping[str, Described], said: Any) -> HeldForms:
    """What is foreseen of the files' tensors and config.json's quantization_config. Whether every zero point is the
    middle, or float16 holds every scale, only the values themselves say: `sym` and `desc_act` are believed, and float32
    is taken for more than float16 holds."""
    found, packed = HeldForms(), set[str]()
    said = said if isinstance(said, dict) else {}  # anything else is refused where the weights are read
    for end, count_of in ((".qweight", _of_words), (".weight_packed", _of_compressed)):
        for base in [name.removesuffix(end) for name in tensors if name.endswith(end)]:
            for form, count, as_stored in count_of(base, tensors, said):
                found.add(form, count)
                found.rounded |= not as_stored
            packed.add(base)
    for name, one in tensors.items():
        base = name.removesuffix(".weight")
        if len(one.shape) == 2 and name.endswith(".weight") and base not in packed:
            found.add(ROUNDED, prod(one.shape))
            found.rounded |= one.dtype == "I8" and not _bytes_are_held(base, one, tensors)
    return found


def _of_words(base: str, tensors: Mapping[str, Described], said: Mapping[str, Any]) -> Iterator[tuple[str, int, bool]]:
    """A matrix of GPTQ or AWQ."""
    words, scales = tensors[base + ".qweight"].shape, tensors.get(base + ".scales", Described("", ())).shape
    if len(words) != 2 or len(scales) != 2 or not scales[0]:  # damaged, as whoever reads it will be told
        return
    inputs = words[0] * (8 if said.get("quant_method") == "gptq" else 1)
    middle = said.get("sym") is True or said.get("zero_point") is False
    as_stored = said.get("desc_act") is not True or base + ".g_idx" not in tensors or scales[0] == 1
    yield _of_coded(inputs // scales[0], middle) if as_stored else ROUNDED, 8 * prod(words), as_stored


def _of_coded(size: int, middle: bool = False) -> str:
    """Groups of this many inputs in 4 bits, with a scale and a zero point; whether that is 8 in all of them."""
    return "int4_128" if size % RUN == 0 else "int4" if middle else "int5"


def _of_compressed(
    base: str, tensors: Mapping[str, Described], said: Mapping[str, Any]
) -> Iterator[tuple[str, int, bool]]:
    """A matrix of compressed-tensors."""
    words, scale = tensors[base + ".weight_packed"].shape, tensors.get(base + ".weight_scale", Described("", ()))
    if len(words) != 2 or len(scale.shape) != 2 or not scale.shape[1]:
        return
    bits, size = _bits_and_size(words[1], scale.shape[1], said)
    coded = base + ".weight_zero_point" in tensors
    as_stored = size % GROUP == 0 and scale.dtype != "F32" and not (coded and bits != 4)
    form = _of_coded(size) if coded else f"int{bits}"
    yield form if as_stored else ROUNDED, prod(words) * 32 // bits, as_stored


def _bytes_are_held(base: str, values: Described, tensors: Mapping[str, Described]) -> bool:
    """Whether a matrix that compressed-tensors keeps in int8 runs as it is stored."""
    scale = tensors.get(base + ".weight_scale", Described("", ()))
    groups = scale.shape[1] if len(scale.shape) == 2 else 1
    whole = groups > 0 and values.shape[1] // groups % GROUP == 0
    return whole and scale.dtype != "F32" and base + ".weight_zero_point" not in tensors


def _bits_and_size(words: int, groups: int, said: Mapping[str, Any]) -> tuple[int, int]:
    """The bits of a weight and the weights of a group, for rows of `words` words in `groups` groups."""
    groups_said = said.get("config_groups")
    told = groups_said.values() if isinstance(groups_said, dict) else ()
    schemes = [one["weights"] for one in told if isinstance(one, dict) and isinstance(one.get("weights"), dict)]
    every = [(one.get("num_bits", 8), one.get("group_size")) for one in schemes]
    sizes = {bits: words * 32 // bits // groups for bits in (4, 8) if bits in [one for one, _ in every]}
    alike = [bits for bits, size in sizes.items() if (bits, size) in every]
    bits = alike[0] if alike else max(sizes, default=8)
    return bits, sizes.get(bits, 1)
