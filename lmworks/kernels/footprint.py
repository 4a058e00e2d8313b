"""What a model takes in memory as it will run, counted from its files' headers before its weights are read; and which
form of it would fit where that is too much.

    found = Footprint.of(path)
    found.bytes(), found.bytes("int4")
    found.must_fit("smollm2")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Self

from lmworks.basics.errors import ModelError
from lmworks.basics.memory import available_bytes
from lmworks.kernels.choice import EMBEDDING_BITS
from lmworks.kernels.coverage import unavailable, unknown
from lmworks.kernels.frame import GROUP
from lmworks.kernels.packed import OVERHEAD, OVERHEAD_MXFP4, ROWS, packed_bytes
from lmworks.kernels.quantisation import bits_named, forms, quantisation_of, quantisations
from lmworks.models.config import ModelConfig
from lmworks.models.files import model_folder
from lmworks.models.files.gguf_config import FLOAT_BYTES, gguf_config, runs_as_stored, stored_kind
from lmworks.models.files.gguf_file import GGUFFile, TensorInfo
from lmworks.models.files.gguf_kinds import OF_MXFP4
from lmworks.models.files.held_forms import held_forms
from lmworks.models.files.model_folder import ONNX, is_mxfp4, read_config, read_packing, weight_files
from lmworks.models.files.safetensors_header import described
from lmworks.models.hearing.config import SoundConfig

if TYPE_CHECKING:
    import torch

VOCABULARY_BITS = 8
"""Of embedding and head, or more, whatever the other matrices have (run/weights.py)."""
MXFP4_BYTES = 17 / 32
"""Of a weight in a file."""
OF_SIZE = 0
"""A width that follows from the bytes of the file and how many weights it holds."""


@dataclass(frozen=True)
class Footprint:
    """The sizes of a model."""

    config: ModelConfig
    stored: int
    """Bytes of the weights in the file."""
    few_bits: int | None
    """Bytes of the weights in the bits of the file, packed for the compiled path; None where these do not run as they
    are."""
    stored_width: int | None = None
    """Bytes of a weight where PyTorch runs the network, as the file says; None for those of the processor's fast
    type, and OF_SIZE for the file's bytes by its weights."""
    counted: int | None = None
    """How many weights the file says that it holds; None where only the network knows."""
    rounded: bool = False
    """Are matrices that the file holds in few bits, in a form that no kernel knows, rounded to 8 for these?"""

    @classmethod
    def of(cls, path: Path, file: GGUFFile | None = None) -> Self:
        """Of a directory, or of a GGUF file (which may be open already). ModelError for what is no model."""
        if path.suffix == ".gguf":
            file = file or GGUFFile(path)
            counted, stored = sum(prod(one.shape) for one in file.tensors.values()), stored_kind(file)
            held = sum(one.bytes for one in file.tensors.values())
            try:
                config, width = gguf_config(file), None if stored is None else FLOAT_BYTES[stored]
                as_stored = runs_as_stored(file, config)
                packed = round(sum(map(_packed_bytes, file.tensors.values()))) if as_stored else None
                return cls(config, held, packed, width, counted)
            except ModelError as error:
                raise ModelError(f"{path}: {error}") from None
        config, files = read_config(path), weight_files(path)
        held = sum(one.stat().st_size for one in files if one.is_file())
        if (said := read_packing(path)) is not None:
            if not model_folder.runs_as_stored(said):
                return cls(config, held, None, 2)
            if is_mxfp4(said):
                return cls(config, held, _of_mxfp4(config, held), 2)
            found = held_forms({name: one for file in files for name, one in described(file).items()}, said)
            return cls(config, held, bytes_in_forms(found.weights), 2, rounded=found.rounded)
        return cls(config, held, None, 4 if files[0].name == ONNX else OF_SIZE)

    @cached_property
    def parameters(self) -> int:
        """How many weights the network has."""
        if self.counted is not None:
            return self.counted
        if isinstance(self.config, SoundConfig):
            return self.config.parameters
        from lmworks.models.files.directory import parameters

        return parameters(self.config)

    def bytes(self, compress: str | None = None, dtype: torch.dtype | None = None) -> int:
        """What the weights take, loaded with these settings (`LanguageModel.load`)."""
        if compress not in (None, "none"):
            return self._in(bits_named(compress))
        if compress is None and dtype is None and self.few_bits is not None and self._covered:
            return self.few_bits
        plain = self.parameters * (self.width if dtype is None else dtype.itemsize)
        if compress == "none" or dtype is not None or not self._covered:
            return plain
        embeds = self.config.arrangement == "encoder"  # in PyTorch, and packed where it embeds
        return plain + (self._in(EMBEDDING_BITS) if embeds else 0)

    def must_fit(self, name: str, compress: str | None = None, dtype: torch.dtype | None = None) -> None:
        """ModelError where that is more memory than is free, before the machine is brought to a halt by trying it; it
        names the largest form of the model that would fit."""
        needed, free = self.bytes(compress, dtype), available_bytes()
        if free is not None and needed > free:
            instead = self.largest_within(free)
            raise ModelError(
                f"{name} takes {in_gigabytes(needed)}, and {in_gigabytes(free)} of memory are free; close other "
                f"programs, or {instead}"
            )

    def largest_within(self, free: int) -> str:
        """What to do instead: the form with the most bits that takes no more than this, or how large a model may be."""
        bits = sorted(quantisations(), reverse=True) if self._covered else ()
        ways = [("as it is stored", self.bytes())]
        names = {one: quantisation_of(one).name for one in bits}
        ways += [(f"in {name} (--compress {name})", self._in(one)) for one, name in names.items()]
        for form, needed in ways:
            if needed <= free:
                return f"load it {form}, which takes {in_gigabytes(needed)}"
        least = bytes_a_weight(min(bits)) if bits else float(self.width)
        form = names[min(bits)] if bits else f"{8 * self.width} bits"
        most = free / least
        size = f"{most / 1e9:,.1f} billion" if most >= 1e9 else f"{most / 1e6:,.2f} million"
        return f"take a model of at most {size} weights, which would fit in {form}"

    @property
    def width(self) -> int:
        """Bytes of a weight where PyTorch runs the network."""
        if self.stored_width == OF_SIZE:
            return max(1, round(self.stored / self.parameters))
        if self.stored_width is not None:
            return self.stored_width
        from lmworks.models.precision import fast_dtype

        return fast_dtype().itemsize

    @property
    def _covered(self) -> bool:
        """Whether the compiled path knows the network."""
        return unknown(self.config) is None and unavailable() is None

    def _in(self, bits: int) -> int:
        """Rounded to these bits, and packed."""
        vocabulary = self.config.vocab_size * self.config.embedding_width * (1 if self.config.tied else 2)
        others = max(self.parameters - vocabulary, 0)
        return round(others * bytes_a_weight(bits) + vocabulary * bytes_a_weight(max(bits, VOCABULARY_BITS)))


def _packed_bytes(tensor: TensorInfo) -> float:
    """Of a tensor of a GGUF file that runs as it is stored."""
    if tensor.kind in FLOAT_BYTES:
        return tensor.bytes
    return tensor.bytes * (OVERHEAD_MXFP4 if tensor.kind in OF_MXFP4 else OVERHEAD)


def _of_mxfp4(config: ModelConfig, held: int) -> int:
    """Of a directory of gpt-oss: experts as they are stored, and in 8 bits what it stores in 16."""
    if config.experts is None:
        return held
    layers = sum(config.has_experts(layer) for layer in range(config.layers))
    matrices = config.dim * config.expert_dim * (3 if config.gated else 2)
    experts = layers * config.experts.count * matrices * MXFP4_BYTES
    return round(OVERHEAD_MXFP4 * experts + max(held - experts, 0) * bytes_a_weight(8) / 2)


def bytes_in_forms(weights: Mapping[str, int]) -> int:
    """Bytes of packed weights, from the number of weights in each quantisation."""
    kinds = forms()
    return sum(count * kinds[form].run_bytes // (ROWS * GROUP * kinds[form].run) for form, count in weights.items())


def bytes_a_weight(bits: int) -> float:
    """Of a matrix that is packed in these bits."""
    return packed_bytes((ROWS, GROUP), bits) / (ROWS * GROUP)


def in_gigabytes(count: float) -> str:
    """Bytes in GB; in MB below a tenth of one."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
