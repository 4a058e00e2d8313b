"""Memory of a step that is followed operation by operation, on tensors that have shapes and no values.

The network runs forward and back as it would, on PyTorch's fake tensors: nothing is computed and nothing is held, but
every tensor comes and goes when the real one would. This plans encoders, encoder-decoders and whatever other network
`lmworks.jobs.planning.activations` has no sum for. It equals what is alive in a real step to the byte
(tests/jobs/planning).
"""

from __future__ import annotations

import functools
import math
import warnings
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lmworks.adaptation.declaration import Chosen, Setup
from lmworks.adaptation.frozen import FrozenLinear
from lmworks.basics.errors import ConfigError
from lmworks.jobs.planning.workload import DOCUMENTS, made_up
from lmworks.models.block import run_plainly, run_recomputing
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.objectives.declaration import ObjectiveSettings
from lmworks.training.by_hand.fused_block import choose_blocks

MOST = 4
"""Blocks of a stack that are followed; of more, what the second half of these adds is added for each further one. With
6 the figures were the same to the byte (SmolLM2 by each method, and seven kinds of networks of nine blocks), in 1.6
times the time."""

LONGEST = 4096
"""Tokens of a row that are followed: masks take memory by their square, and the loss time by their number. Of longer
rows the sizes lie on the parabola through those of SHORTER and this; at 8,192 tokens that was right to a hundredth."""
SHORTER = (1024, 2048)

Kind = Literal["resident", "activations", "working", "gradients"]
Sizes = dict[str, float]


@dataclass(frozen=True)
class Followed:
    """Bytes of one micro-batch beside weights, masters and optimiser, by part."""

    forward: Sizes
    """At the fullest moment of the forward."""
    backward: Sizes
    """At that of the backward: activations that are still there, gradients, and what came and goes on the way back."""
    kept: float
    """Activations when the forward is done."""
    turnover: float
    """The most that comes and goes in the backward of a block."""

    def __add__(self, other: Followed) -> Followed:
        return self._with(other, 1.0)

    def _with(self, other: Followed, times: float) -> Followed:
        """Each part and `times` the other's."""
        forward, backward = (
            {name: mine.get(name, 0.0) + times * theirs.get(name, 0.0) for name in mine | theirs}
            for mine, theirs in ((self.forward, other.forward), (self.backward, other.backward))
        )
        return Followed(forward, backward, self.kept + times * other.kept, self.turnover + times * other.turnover)

    def times(self, factor: float) -> Followed:
        """Each part, multiplied."""
        nothing = Followed({}, {}, 0.0, 0.0)
        return nothing._with(self, factor)


@functools.cache
def follow(
    config: ModelConfig,
    objective: ObjectiveSettings,
    rows: int,
    context: int,
    dtype: torch.dtype,
    *,
    chosen: Chosen | None = None,
    recompute: bool = False,
    accumulates: bool = False,
    documents: int = DOCUMENTS,
    by_hand: bool = True,
) -> Followed:
    """A micro-batch of `rows` full rows on a CPU; of several (`accumulates`) one that is not the first. Blocks go back
    `by_hand` where they can, as on no other device.

    Trained is what the method of `chosen` trains; without one, all weights. ConfigError for a network that decides by
    values what it does next, or that the method does not fit.
    """
    if context > LONGEST:

        def at(tokens: int) -> Followed:
            return follow(
                config,
                objective,
                rows,
                tokens,
                dtype,
                chosen=chosen,
                recompute=recompute,
                accumulates=accumulates,
                documents=documents,
                by_hand=by_hand,
            )

        return _on_a_parabola({tokens: at(tokens) for tokens in (*SHORTER, LONGEST)}, context)

    def of(layers: int, encoder: int | None) -> Followed:
        smaller = config.but(layers=layers, encoder_layers=encoder, window_layers=None)
        return _follow(smaller, objective, rows, context, dtype, chosen, recompute, accumulates, documents, by_hand)

    two_sides = config.arrangement == "encoder-decoder"
    whole = config.encoder().layers if two_sides else None
    decoder, encoder = min(config.layers, MOST), None if whole is None else min(whole, MOST)
    if (decoder, encoder) == (config.layers, whole):
        return of(decoder, encoder)
    try:
        found = base = of(decoder, encoder)
        if config.layers > MOST:
            slope = base + of(MOST // 2, encoder).times(-1.0)
            found += slope.times((config.layers - MOST) / (MOST - MOST // 2))
        if whole is not None and whole > MOST:
            slope = base + of(decoder, MOST // 2).times(-1.0)
            found += slope.times((whole - MOST) / (MOST - MOST // 2))
    except ConfigError:  # a method may ask for more blocks than these
        return of(config.layers, whole)
    return found


def _on_a_parabola(found: dict[int, Followed], context: int) -> Followed:
    """What rows of `context` tokens take, from rows of three other lengths; at least what the longest of them do."""
    whole = Followed({}, {}, 0.0, 0.0)
    for tokens, one in found.items():
        weight = math.prod((context - other) / (tokens - other) for other in found if other != tokens)
        whole += one.times(weight)
    least = found[max(found)]
    forward, backward = (
        {name: max(size, known.get(name, 0.0)) for name, size in sizes.items()}
        for sizes, known in ((whole.forward, least.forward), (whole.backward, least.backward))
    )
    return Followed(forward, backward, max(whole.kept, least.kept), max(whole.turnover, least.turnover))


def _follow(
    config: ModelConfig,
    settings: ObjectiveSettings,
    rows: int,
    context: int,
    dtype: torch.dtype,
    chosen: Chosen | None,
    recompute: bool,
    accumulates: bool,
    documents: int,
    by_hand: bool,
) -> Followed:
    with torch.random.fork_rng(devices=[]):
        objective, batch = made_up(config, settings, rows, context, documents)
    with torch.device("meta"):
        network = Network(config).to(dtype)
    if chosen is not None:
        setup = chosen.prepare(Setup(network, objective, []))
        network, objective = setup.network, setup.objective
    _fake(network)
    if chosen is not None:
        with warnings.catch_warnings():  # a copy of the base looks where its fake values lie
            warnings.simplefilter("ignore")
            objective = chosen.retain(Setup(network, objective, [])).objective
    if by_hand:
        choose_blocks(network.train(), recompute)
    else:
        network.train().run_block = run_recomputing if recompute else run_plainly
    _watch_blocks(network, alive := _Alive(network.parameters()))
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with alive:
        hooks = [parameter.register_post_accumulate_grad_hook(alive.has_gradient) for parameter in trained]
        try:
            for _ in range(2 if accumulates else 1):
                alive.begin("activations")
                mean = objective(network, batch).mean
                forward, kept = alive.at_peak, alive.now["activations"]
                alive.begin("working")
                mean.backward()  # type: ignore[no-untyped-call]
                alive.leave_block()
        except (DataDependentOutputException, DynamicOutputShapeException, UnsupportedOperatorException) as error:
            raise ConfigError(
                f"what this network keeps in training depends on values that nobody has yet ({error}); measure a few "
                "steps"
            ) from None
        finally:
            for hook in hooks:
                hook.remove()
    return Followed(forward, alive.at_peak, kept, alive.turnover)


def _watch_blocks(network: Network, alive: _Alive) -> None:
    """Tell `alive` when the gradient of a block's result is there, and that of what goes into the first block."""
    run_block, made = network.run_block, 0

    def watched(block: Any, x: Tensor, *more: Any) -> Tensor:
        nonlocal made
        if x.requires_grad and id(x) != made:
            x.register_hook(lambda gradient: alive.leave_block())
        found = run_block(block, x, *more)
        if found.requires_grad:
            found.register_hook(lambda gradient: alive.enter_block())
        made = id(found)
        return found

    network.run_block = watched


def _fake(network: Network) -> None:
    """Replace tensors on the meta device by fake ones, which say that they are on a CPU.

    A network on the meta device itself would not run as it does on a CPU.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in network.modules():
            for name, one in module._parameters.items():
                if one is not None:
                    fake = torch.empty(one.shape, dtype=one.dtype, device="cpu")
                    module._parameters[name] = nn.Parameter(fake, one.requires_grad)
            if isinstance(module, FrozenLinear):
                module.packed = _Made(module.packed.shape, module.packed.nbytes, torch.empty(0))


@dataclass(frozen=True)
class _Made:
    """A matrix in few bits that becomes one without values."""

    shape: tuple[int, int]
    nbytes: int
    fake: Tensor

    def weights(self, dtype: torch.dtype) -> Tensor:
        """Made anew."""
        return self.fake.new_empty(self.shape, dtype=dtype)


class _Alive(TorchDispatchMode):
    """Bytes of all storages that are alive, by what they are, inside this block."""

    def __init__(self, resident: Iterable[Tensor]) -> None:
        super().__init__()
        self._storages: dict[int, tuple[weakref.ref[Any], Kind, int]] = {}
        self.now: dict[Kind, int] = {"resident": 0, "activations": 0, "working": 0, "gradients": 0}
        self.turnover: float = 0.0
        self._highest: float = 0.0
        self._at_entry: int | None = None
        self._most_working = 0
        self.begin("resident")
        self._add(resident)
        self.begin("activations")

    def begin(self, kind: Kind) -> None:
        """What comes from here on is of this kind; the peak is looked for anew."""
        self._kind: Kind = kind
        self._highest, self.at_peak = 0.0, self._parts()

    def enter_block(self) -> None:
        """A block's backward begins, and that of the one after it has ended."""
        self.leave_block()
        self._at_entry = self.now["working"]
        self._most_working = self.now["working"]

    def leave_block(self) -> None:
        """It ends."""
        if self._at_entry is not None:
            self.turnover = max(self.turnover, float(self._most_working - self._at_entry))
        self._at_entry = None

    def has_gradient(self, parameter: Tensor) -> None:
        """A parameter's gradient is there: it stays."""
        assert parameter.grad is not None
        key = parameter.grad.untyped_storage()._cdata
        reference, kind, size = self._storages[key]
        self._storages[key] = reference, "gradients", size
        self.now[kind] -= size
        self.now["gradients"] += size

    def _parts(self) -> Sizes:
        return {kind: float(size) for kind, size in self.now.items() if kind != "resident"}

    def _add(self, results: Iterable[Any]) -> None:
        before = len(self._storages)
        for tensor in results:
            if not isinstance(tensor, Tensor):
                continue
            if tensor.untyped_storage()._cdata not in self._storages:
                self._add_as(self._kind, tensor)
        if len(self._storages) == before:  # a view, or written in place: nothing is fuller than it was
            return
        self._most_working = max(self._most_working, self.now["working"])
        if (all_ := sum(self._parts().values())) > self._highest:
            self._highest, self.at_peak = all_, self._parts()

    def _add_as(self, kind: Kind, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        self._storages[key] = weakref.ref(storage, functools.partial(self._gone, key)), kind, storage.nbytes()
        self.now[kind] += storage.nbytes()

    def _was_there(self, arguments: Iterable[Any]) -> None:
        """What an operation reads and none has made, such as a copy of the base, is resident: its views are no news."""
        for tensor in arguments:
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in self._storages:
                self._add_as("resident", tensor)

    def _gone(self, key: int, _: object) -> None:
        _, kind, size = self._storages.pop(key)
        self.now[kind] -= size

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        self._was_there(tree_leaves((arguments, keywords)))
        result = function(*arguments, **(keywords or {}))
        self._add(tree_leaves(result) if isinstance(result, tuple | list) else (result,))
        return result
