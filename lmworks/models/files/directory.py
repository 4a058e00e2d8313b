"""Model directories in Hugging Face's layout: config.json and safetensors, one file or shards; read and written. An
ONNX file's weights are read where it stands in their place.

No pickle is read or written. Every tensor must be expected and every expected tensor must be there.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.errors import ModelError
from lmworks.basics.files import refuse_pointer, regular, says_why, write_json
from lmworks.basics.memory import must_fit
from lmworks.models.adapted import has_adapters
from lmworks.models.adaptive_softmax import AdaptiveSoftmax
from lmworks.models.config import ModelConfig
from lmworks.models.families import family_of, torchvision
from lmworks.models.families.tables import OWN_TYPE
from lmworks.models.files.compressed import Compression, decompressed
from lmworks.models.files.ctranslate2 import read_ctranslate2
from lmworks.models.files.efficientnet_file import read_efficientnet
from lmworks.models.files.model_folder import (
    CTRANSLATE2,
    EFFICIENTNET,
    INDEX,
    ONNX,
    read_config,
    read_packing,
    torchvision_weights,
    weight_files,
)
from lmworks.models.files.onnx import read_onnx
from lmworks.models.mapped import know_mapped
from lmworks.models.network import Network, build_network
from lmworks.models.network_class import network_class
from lmworks.models.precision import DTYPES
from lmworks.models.unread import NOT_FINITE, Later, at_once, in_type, nothing, unread_of

SHARD_BYTES = 5_000_000_000
MOST_TENSORS = 50_000
"""Tensors of one file; the largest public models have some hundreds in each."""


def read_network(folder: Path, dtype: torch.dtype | None = None, later: Later = nothing) -> Network:
    """The network of a model directory, in `dtype` or in the type that the file holds. Matrices that are wanted `later`
    stay in the file until somebody asks, unless they are in another order there.

    Raises ModelError: unknown architecture, missing or unexpected tensor, wrong shape, truncated file, weights
    that are not finite, more of them than memory.
    """
    config, files = read_config(folder), weight_files(folder)
    said = read_packing(folder)
    # What is packed is unpacked, mostly into 16 bits, ONNX into 32; other weights are read in the type of the file.
    as_stored = 4 if files[0].name == ONNX else None if said is None else 2
    width = dtype.itemsize if dtype is not None else as_stored
    sizes = (file.stat().st_size for file in files if file.is_file())
    read = READERS.get(files[0].name, read_safetensors)
    stays = at_once if files[0].name in READERS else later(config)  # whose matrices are in another order
    if stays is at_once:
        must_fit(str(folder), sum(sizes) if width is None else width * parameters(config))
    tensors = {name: tensor for file in files for name, tensor in read(file).items()}
    try:
        if said is not None:
            # Each matrix is made when it is taken below, or later: all at once would be as large as the network.
            tensors = decompressed(tensors, said, dtype, later=True)
        return network_of(config, _translated(folder, tensors, config, dtype, stays), progress.read)
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from None


def must_be_read(folder: Path) -> None:
    """ModelError for a directory that `read_network` would refuse, in its words, as far as that shows without the
    values of a matrix: files that are cut off, tensors that are missing, left over or of a wrong shape, ways of packing
    that are not known."""
    config, files, said = read_config(folder), weight_files(folder), read_packing(folder)
    if files[0].name in READERS:
        return
    tensors = {name: tensor for file in files for name, tensor in read_safetensors(file).items()}
    try:
        if said is not None:
            tensors = decompressed(tensors, said, later=True)
        without_values = {name: torch.empty(one.shape, dtype=one.dtype, device="meta") for name, one in tensors.items()}
        must_make(config, _translated(folder, without_values, config))
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from None


def _translated(
    folder: Path,
    tensors: Mapping[str, Tensor],
    config: ModelConfig,
    dtype: torch.dtype | None = None,
    stays: Callable[[str], bool] = at_once,
) -> dict[str, Tensor]:
    """A directory's tensors under our names."""
    if torchvision_weights(folder) is not None:
        return torchvision.tensors_from(tensors, config, torchvision_shapes(config), dtype)
    return family_of(config.family).tensors_from(tensors, config, dtype, stays)


def torchvision_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shapes of a network's tensors by torchvision's names; none is made."""
    with torch.device("meta"):
        state = network_class(config)(config).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in torchvision.tensors_to(state, config).items()}


def parameters(config: ModelConfig) -> int:
    """How many weights a network of this config has; none is made."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in network_class(config)(config).parameters())


def network_of(
    config: ModelConfig, tensors: Mapping[str, Tensor], read: Callable[[int], None] = lambda size: None
) -> Network:
    """A network with these weights, their shapes and values checked first; placeholders stay unread. `read` is called
    with the bytes of each of the others."""
    must_make(config, tensors)
    types = {tensor.dtype for name, tensor in tensors.items() if not name.endswith(OWN_TYPE)}
    if len(types) > 1:  # some files keep norms in float32; one network computes in one type
        common = (tensors["embedding.weight"] if "embedding.weight" in tensors else next(iter(tensors.values()))).dtype
        tensors = {
            name: in_type(tensor, common) if tensor.is_floating_point() and not name.endswith(OWN_TYPE) else tensor
            for name, tensor in tensors.items()
        }
    for name, tensor in tensors.items():
        if unread_of(tensor) is None:
            read(tensor.nbytes)
            if not torch.isfinite(tensor.sum(dtype=torch.float32)):
                raise ModelError(NOT_FINITE.format(name))
    network = build_network(config, tensors, network_class(config))
    head = getattr(network, "head", None)  # what reads images has none
    if isinstance(head, AdaptiveSoftmax):
        head.check_ranks()
    return network


def must_make(config: ModelConfig, tensors: Mapping[str, Tensor]) -> None:
    """ModelError unless these are the tensors of a network of this config, in shapes and types; no value is read."""
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in network_class(config)(config).state_dict().items()}
    for name, shape in expected.items():
        if name not in tensors:
            raise ModelError(f"the tensor {name} is missing from the weights")
        if tensors[name].shape != shape:
            raise ModelError(
                f"{name} has the shape {list(tensors[name].shape)}, and the settings ask for {list(shape)}"
            )
    if unexpected := sorted(set(tensors) - set(expected)):
        raise ModelError(
            f"the weights hold {unexpected[0]}, which a network with this config.json does not have; it would be lost "
            "silently, so nothing was loaded"
        )
    types = {tensor.dtype for name, tensor in tensors.items() if not name.endswith(OWN_TYPE)}
    if unknown := types - {*DTYPES.values(), torch.float64}:
        raise ModelError(
            f"the weights are stored as {', '.join(map(str, unknown))}; convert them to float32 or bfloat16"
        )


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, mapped into memory; ModelError where it is damaged, or cut off."""
    _check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged ({error}); fetch or copy it again") from None
    know_mapped(path, tensors.values())
    return tensors


def _check_header(path: Path) -> None:
    """Refuse more tensors than any file has, of which each costs time, and say by how much a file is cut off;
    safetensors itself says only that it is wrong."""
    try:
        size = path.stat().st_size
        refuse_pointer(path)
        with regular(path).open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            header = json.loads(file.read(min(length, 100_000_000))) if 0 < length <= size else None
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist; the model directory is incomplete, fetch or copy it again") from None
    except (ValueError, RecursionError):
        return  # a damaged header: safetensors' own check names it
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(header, dict):
        return
    if len(header) > MOST_TENSORS:
        raise ModelError(
            f"{path} lists {len(header):,} tensors, and no such file has more than {MOST_TENSORS:,}; fetch or copy it "
            "again"
        )
    ends = [
        entry["data_offsets"][1]
        for entry in header.values()
        if isinstance(entry, dict)
        and isinstance(entry.get("data_offsets"), list)
        and len(entry["data_offsets"]) == 2
        and isinstance(entry["data_offsets"][1], int)
    ]
    missing = 8 + length + max(ends, default=0) - size
    if missing > 0:
        raise ModelError(f"{path} ends {missing:,} bytes early (cut off while copying?); fetch or copy it again")


READERS: dict[str, Callable[[Path], dict[str, Tensor]]] = {
    ONNX: read_onnx,
    CTRANSLATE2: read_ctranslate2,
    EFFICIENTNET: read_efficientnet,
}
"""What reads weights that are in no safetensors file, by the name of theirs."""


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors (contiguous copies where needed); an error of the disk becomes an OSError."""
    try:
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            path,
            metadata={"format": "pt"},
        )
    except SafetensorError as error:
        code = next((int(part.rstrip(")")) for part in str(error).split() if part.rstrip(")").isdigit()), None)
        raise OSError(code, str(error), str(path)) from error


def write_network(
    folder: Path, network: Network, shard_bytes: int = SHARD_BYTES, compression: Compression | None = None
) -> None:
    """Write config.json and the weights into an existing folder, so that transformers and vLLM load them.

    ModelError for a network with adapters on: its file format has no place for them; for a weight that is not finite
    where weights are compressed.
    """
    config = network.config
    family = family_of(config.family)
    name = str(network.dtype if compression is None else compression.dtype).removeprefix("torch.")
    theirs = family.config_to(config)
    weights = network.state_dict()
    if has_adapters(network):
        raise ModelError(
            "the network has adapters on, and a model directory has no place for them; "
            "merge them first (merge_adapters, or lmworks build --merge)"
        )
    tensors = family.tensors_to(weights, config)
    if compression is not None:
        tensors, theirs["quantization_config"] = compression.of(tensors, family, config)
    with says_why(folder):
        shards = list(_shards(tensors, shard_bytes))
        if len(shards) == 1:
            write_safetensors(folder / "model.safetensors", tensors)
        else:
            weight_map: dict[str, str] = {}
            for number, shard in enumerate(shards, 1):
                file = f"model-{number:05}-of-{len(shards):05}.safetensors"
                write_safetensors(folder / file, shard)
                weight_map |= dict.fromkeys(shard, file)
            total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
            write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
    write_json(folder / "config.json", theirs | {"torch_dtype": name})


def _shards(tensors: Mapping[str, Tensor], limit: int) -> Iterator[dict[str, Tensor]]:
    """Groups of whole tensors, each at most `limit` bytes where a single tensor is not larger."""
    shard: dict[str, Tensor] = {}
    held = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if shard and held + size > limit:
            yield shard
            shard, held = {}, 0
        shard[name] = tensor
        held += size
    yield shard
