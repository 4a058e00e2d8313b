"""Which way a loaded network runs: compiled in the bits of its file, in bits that are asked for, or by PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, KernelError, LmworksError
from lmworks.kernels.coverage import too_large, too_many, unavailable, uncovered, unknown
from lmworks.kernels.keeping import Keeper, Kept
from lmworks.kernels.packed import Stored
from lmworks.kernels.quantisation import bits_named, quantisations
from lmworks.kernels.run.weights import is_multiplied
from lmworks.kernels.runner import CompiledRunner
from lmworks.models.hearing.config import hears
from lmworks.models.later_network import LaterNetwork
from lmworks.models.runner import Runner

if TYPE_CHECKING:
    from lmworks.models.network import Network
    from lmworks.models.unread import Later

HEARING = "bf16"
"""Of the weights of a network that hears."""
EMBEDDING_BITS = 8
"""Of an encoder's weights where it embeds: faster than PyTorch in bfloat16, and STS-B's ranks stay (docs/fast.md)."""


AS_STORED = 16
"""The most bits that a file's weights run in as they are."""


def check_compress(compress: str | None, dtype: object = None) -> None:
    """ConfigError for what `compress` cannot be, or not beside a type that PyTorch's weights shall have."""
    known = *(one.name for one in quantisations().values()), "none"
    if compress is not None and compress not in known:
        raise ConfigError(f"compress is {compress!r}, and it is one of {', '.join(known)}")
    if dtype is not None and compress not in (None, "none"):
        raise ConfigError(f"dtype is {dtype} and compress is {compress}; give one of them")


@dataclass(frozen=True)
class Way:
    """How a model that is loaded without more words will run on a CPU."""

    compiled: bool
    how: str
    """What runs it, and why not the compiled path."""
    refused: bool = False
    """Nothing does."""


def default_bits(config: object) -> str | None:
    """What a network that hears runs in where nobody says otherwise, as `compress` names it; None for PyTorch. Its
    decoder reads all weights for each token: in 16 bits it writes the same text, four times as fast."""
    return HEARING if hears(config) and (unknown(config) or unavailable()) is None else None


def foreseen(config: object, packed: int | None, parameters: int, rounded: bool = False) -> Way:
    """How a network will run, told by its config, what it takes in the few bits of its file (None where that holds
    floats), its size, and whether matrices are `rounded` for that (footprint.py): as `runner_for` and `embedder_for`
    choose."""
    reason = unknown(config) or unavailable() or too_many(parameters, AS_STORED if packed is not None else 8, packed)
    if reason is not None:
        return Way(False, f"in PyTorch: {reason}")
    if packed is not None and rounded:
        return Way(True, "compiled, in 8 bits where the kernels do not hold its groups or scales as they are")
    if packed is not None:
        return Way(True, "compiled, in the bits of its file")
    if default_bits(config) is not None:
        return Way(True, f"compiled, in {HEARING}; fewer bits with --compress int8")
    if getattr(config, "arrangement", None) == "encoder":
        return Way(True, f"embeds compiled, in {EMBEDDING_BITS} bits; anything else in PyTorch")
    return Way(False, "in PyTorch, as its weights are not in few bits; compiled with --compress int4, int8 or bf16")


def packed_later(compress: str | None, few_bits: bool, device: str = "cpu") -> Later:
    """Which matrices of a network nobody needs as floats, since `runner_for` will pack them; `few_bits` says that its
    file holds 4 or 8 bits."""
    from lmworks.models.unread import at_once, nothing

    asked = compress not in (None, "none") or (compress is None and few_bits)
    if not asked or device != "cpu":
        return nothing
    return lambda config: is_multiplied if (unknown(config) or unavailable()) is None else at_once


def runner_for(
    network: Network,
    compress: str | None,
    stored: Stored | None,
    device: str = "cpu",
    keeper: Keeper | None = None,
) -> Runner:
    """What runs a network: the compiled path, or PyTorch. Unless `compress` says more, weights that a file holds in
    few bits run in these, and others in PyTorch. ConfigError where bits are asked for that cannot be had; what is
    not asked for, and a compiled path that fails while it is made, is only said."""
    from lmworks.models.torch_runner import TorchRunner

    check_compress(compress)
    if compress == "none" or (compress is None and (stored is None or device != "cpu")):
        return TorchRunner(network)
    bits = most_bits(compress)
    reason = uncovered(network) or unavailable() or too_large(network, bits, stored)
    if reason is None:
        return _compiled(network, bits, stored, keeper) or TorchRunner(network)
    if compress is None:
        progress.note(f"{reason}; PyTorch runs the network")
        return TorchRunner(network)
    raise ConfigError(f"compress={compress} cannot be had: {reason}; leave it out, and PyTorch runs the network")


def runner_of_kept(
    later: LaterNetwork,
    compress: str | None,
    few_bits: bool,
    keeper: Keeper | None,
    pack: Callable[[], bool] | None = None,
) -> CompiledRunner | None:
    """What `runner_for` would choose, of the packed weights that are kept; None where none are, or where something else
    may run the network. `few_bits` says that its file holds 4 or 8 bits; `pack` has what is not kept packed by somebody
    else, and says whether it was."""
    if compress == "none" or (compress is None and not few_bits) or unknown(later.config) or unavailable():
        return None
    found = _of_kept(later, most_bits(compress), keeper)
    if found is None and pack is not None and pack():
        found = _of_kept(later, most_bits(compress), keeper)
    return found


def embedder_of_kept(later: LaterNetwork, keeper: Keeper | None) -> CompiledRunner | None:
    """What `embedder_for` would choose, of the packed weights that are kept; None where none are."""
    if later.config.arrangement != "encoder" or unknown(later.config) or unavailable():
        return None
    return _of_kept(later, EMBEDDING_BITS, keeper)


def _of_kept(later: LaterNetwork, bits: int, keeper: Keeper | None) -> CompiledRunner | None:
    kept = None if keeper is None else keeper.opened(later.config, bits)
    if keeper is None or kept is None:
        return None
    later.check_first(keeper.watch())
    return _compiled(later, bits, kept=kept)


def most_bits(compress: str | None) -> int:
    """Of matrices, at most; those of a file's weights are its own."""
    return AS_STORED if compress is None else bits_named(compress)


def embedder_for(network: Network, keeper: Keeper | None = None) -> CompiledRunner | None:
    """What embeds texts in an encoder's place unless somebody asked for more exactness; None for PyTorch."""
    if network.config.arrangement != "encoder":
        return None
    if (uncovered(network) or unavailable() or too_large(network, EMBEDDING_BITS)) is not None:
        return None
    return _compiled(network, EMBEDDING_BITS, keeper=keeper)


def _compiled(
    network: Network | LaterNetwork,
    bits: int,
    stored: Stored | None = None,
    keeper: Keeper | None = None,
    kept: Kept | None = None,
) -> CompiledRunner | None:
    """None where it fails: kernels that cannot be compiled, threads that do not start, a reason that nobody foresaw."""
    try:
        return CompiledRunner(network, bits, stored, keeper, kept)
    except KernelError as error:
        progress.note(f"{error}; PyTorch runs the network")
        return None
    except (LmworksError, MemoryError):
        raise
    except Exception as error:
        progress.note(f"the network could not be compiled ({type(error).__name__}: {error}); PyTorch runs it")
        return None
