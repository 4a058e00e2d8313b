"""Which inputs of each matrix are outliers (outliers.py): found by PyTorch, with random tokens, when it is packed."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lmworks.basics.ahead import shared
from lmworks.basics.arrays import Float, Int
from lmworks.basics.threads import one_thread
from lmworks.kernels.frame import GROUP
from lmworks.kernels.outliers import MOST
from lmworks.models.adapted import adapted_layers
from lmworks.models.experts import Experts
from lmworks.models.hearing.config import SoundConfig
from lmworks.models.hooks import hook_points
from lmworks.models.latent_attention import LatentAttention
from lmworks.models.linear import Linear
from lmworks.models.network import Network
from lmworks.models.unread import let_go, peek, peeked, pieces, unread_of

LEAST = 0.02
"""An input that takes away less than this share of a matrix's error stays with the others."""
DRAWN = 64
"""Tokens that are run to find them."""
AT_ONCE = 1 << 17
"""Weights that are squared in one go."""


_alone = threading.Lock()


@torch.no_grad()
def outliers(network: Network, advance: Callable[[int], None] = lambda weights: None) -> dict[str, tuple[int, ...]]:
    """The outliers among the inputs of each packed matrix, rising, by its name; none for attention's output, whose
    inputs have hardly any, nor for what comes down from experts, each of which sees a few of the tokens. Runs PyTorch's
    network on random tokens, in the format of its weights, which has a small part in the choice. Weights that are
    unread are read layer by layer, and forgotten again."""
    private, found = _private(network), {}
    ends = (
        *("attention.qkv", "attention.query", "attention.kv", "attention.inward", "attention.outward"),
        *("attention.query_up",),
        *("feed_forward.up", "feed_forward.down", "shared.down"),
    )
    linear = {path.removesuffix(".base"): one for path, one in private.named_modules() if isinstance(one, Linear)}
    layers = {name: alike for name, layer in private.named_modules() if (alike := _reading_alike(layer))}
    reads = {f"{name}.{one}": name for name, alike in layers.items() for one in alike}
    unseen, of_layers = dict(linear), dict[str, Tensor]()

    def look(name: str, matrix: Linear) -> None:
        layer = reads.get(name)

        def after(_: nn.Module, given: tuple[Tensor], __: Tensor) -> None:
            if layer is not None:
                of_layers[layer] = of_layers.get(layer, 0) + column_norms(matrix.weight)
            elif name.endswith(ends):
                found[f"{name}.weight"] = chosen(given[0].flatten(0, -2).float(), column_norms(matrix.weight))
            matrix.product.drop()  # a copy as large as the weight, where one was made
            advance(unseen.pop(name).weight.numel())
            let_go(matrix)

        matrix.register_forward_hook(after)

    def look_at_all(name: str, alike: Sequence[str]) -> None:
        def after(_: nn.Module, given: tuple[Tensor, ...], __: Tensor) -> None:
            together = chosen(given[0].flatten(0, -2).float(), of_layers.pop(name))
            found.update({f"{name}.{one}.weight": together for one in alike})

        private.get_submodule(name).register_forward_hook(after)

    for name, matrix in linear.items():
        look(name, matrix)
    for name, alike in layers.items():
        look_at_all(name, alike)
    draws = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, network.config.vocab_size, (1, min(DRAWN, network.longest)), generator=draws)
    # PyTorch's sums depend on its number of threads; the choice should not.
    with _alone, one_thread():
        ids = _renumbered(private, tokens)
        memory = None if private.encoder is None else private.encode(_drawn_sound(private, draws, ids))
        hidden = private.hidden(ids, memory=memory)
    advance(sum(peek(matrix, "weight").numel() for matrix in unseen.values()))  # experts without a token
    head, weight = _head(network)
    found[head] = chosen(hidden.flatten(0, -2).float(), column_norms(weight))
    advance(weight.numel())
    return found


def _drawn_sound(private: Network, draws: torch.Generator, ids: Tensor) -> Tensor:
    """What an encoder reads: the tokens, or features that are as large as those of sound."""
    if not isinstance(private.config, SoundConfig):
        return ids
    return 2 * torch.rand(1, private.config.mels, private.config.frames, generator=draws) - 0.5


def _reading_alike(layer: nn.Module) -> list[str]:
    """The matrices of a layer that read what it is given: a token's values are rounded once, for whichever experts it
    goes to, or for state and queries."""
    if isinstance(layer, Experts):
        shared = [] if layer.shared is None else ["shared.up"]
        return [*(f"experts.{one}.up" for one in range(len(layer.experts))), *shared]
    if isinstance(layer, LatentAttention):
        return ["latent", "query_up" if layer.query_down is None else "query_down"]
    return []


def _renumbered(private: Network, tokens: Int[Tensor, "batch seq"]) -> Int[Tensor, "batch seq"]:
    """The same tokens; where the embedding is unread, only their rows are read, and they are numbered by these."""
    unread = unread_of(peek(private.embedding, "weight"))
    if unread is None:
        return tokens
    ids, numbers = tokens.unique(return_inverse=True)
    rows = [unread.rows(one, one + 1) for one in ids.tolist()]
    private.embedding = nn.Embedding.from_pretrained(torch.cat(rows))
    return numbers


def _head(network: Network) -> tuple[str, Tensor]:
    """The matrix that makes logits, with its name."""
    if network.head is None:
        return "embedding.weight", peek(network.embedding, "weight")
    return "head.weight", peek(network.head, "weight")


def _private(network: Network) -> Network:
    """The same weights in a network of their own: no engine, dropout, adapters or hooks, seen by no other thread."""
    weights = {id(one): one for one in (*peeked(network).values(), *network.buffers())}
    private = copy.deepcopy(network, weights).eval()
    for point in hook_points(private).values():
        point.functions.clear()
    for layer in adapted_layers(private).values():
        layer.enabled = False
    for part in private.modules():
        if isinstance(part, Linear):
            part.product.for_once = True
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()
    return private


def chosen(inputs: Float[Tensor, "tokens width"], norms: Float[Tensor, " width"]) -> tuple[int, ...]:
    """Those that take away most of the error, one after another. A group's error is the square of its largest value
    times the squares of all its weights (`norms`: of each column), as a share of the token's."""
    errors = inputs.square().view(len(inputs), -1, GROUP) * norms.view(-1, GROUP).sum(-1, keepdim=True)
    errors /= errors.amax(-1).sum(-1)[:, None, None].clamp_min(1e-30)
    if not torch.isfinite(errors).all():
        return ()
    taken: list[int] = []
    gains, places = _gains(errors)
    while len(taken) < MOST and float(gains.max()) >= LEAST:
        group = int(gains.argmax())
        taken.append(group * GROUP + int(places[group]))
        errors[:, group, places[group]] = 0
        gains[group], places[group] = (one[0] for one in _gains(errors[:, group : group + 1]))
    return tuple(sorted(taken))


def _gains(
    errors: Float[Tensor, "tokens groups inputs"],
) -> tuple[Float[Tensor, " groups"], Int[Tensor, " groups"]]:
    """The input of each group that is the largest on average, and the error that goes with it: or, where others are as
    large, its part of what goes with the first two, three or four."""
    order = errors.mean(0).argsort(-1, descending=True)
    ranked = errors.gather(2, order.expand_as(errors))
    left = [ranked[..., count:].amax(-1).mean(0) for count in range(5)]
    gains = [(left[0] - less) / count for count, less in enumerate(left[1:], start=1)]
    return torch.stack(gains).amax(0), order[:, 0]


def column_norms(weight: Float[Tensor, "rows width"]) -> Float[Tensor, " width"]:
    """The square of each column's length, some rows at once: a large matrix is not copied to float32, and what is
    copied stays in the processor's cache."""
    at_once = max(AT_ONCE // weight.shape[1], 1)
    parts = [torch.stack(shared(_squares, part.split(at_once))) for part in pieces(weight, 4096)]
    return torch.cat(parts).sum(0)


def _squares(rows: Tensor) -> Float[Tensor, " width"]:
    return rows.float().square().sum(0)
