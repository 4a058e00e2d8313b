"""Whether heads that look at a place matter there: what a decoder loses without them, beside as many others.

found = worth_of(network, "induction")     # the four heads with the highest marks
found.heads, found.mark, found.lost, found.beyond

The text is random tokens that are read twice (`inside.head_kinds`): what is lost there is how well the second reading
is predicted by the first one. The others are heads of the same layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lmworks.evaluation import statistics
from lmworks.evaluation.measurement import Measurement
from lmworks.inside.head_kinds import LENGTH, head_kinds, losses_without, others_than
from lmworks.inside.heads import Head
from lmworks.models.network import Network

KINDS = ("previous", "duplicate", "induction")
ROWS = 8
"""Texts, by which the intervals are."""
DRAWS = 3
"""Times that other heads are drawn."""


@dataclass(frozen=True)
class Worth:
    """Heads of a kind, and what taking them away shows."""

    kind: str
    heads: tuple[Head, ...]
    mark: float
    """The mean weight that they give to the place."""
    chance: float
    """That of a head which looks at all tokens alike."""
    lost: Measurement
    """Nats a token more without them."""
    beyond: Measurement
    """By how much that is more than without as many other heads of their layers: above zero, they matter."""


def worth_of(network: Network, kind: str, count: int = 4, *, length: int = LENGTH, rows: int = ROWS) -> Worth:
    """The `count` heads with the highest marks of a kind. ConfigError for a kind that does not exist, and for a network
    that is no decoder."""
    kinds = head_kinds(network, length, rows)
    heads = kinds.most(kind, count)
    marks: torch.Tensor = getattr(kinds, kind)
    whole = losses_without(network, [], length, rows)
    lost = losses_without(network, heads, length, rows) - whole
    drawn = [losses_without(network, others_than(network, heads, seed), length, rows) for seed in range(DRAWS)]
    others = torch.stack(drawn).mean(dim=0) - whole

    def figure(name: str, before: torch.Tensor, after: torch.Tensor) -> Measurement:
        value, interval = statistics.paired_difference(before.tolist(), after.tolist())
        return Measurement(name=name, value=value, unit="nats", interval=interval, n=rows, difference=True)

    return Worth(
        kind,
        tuple(heads),
        float(torch.stack([marks[head] for head in heads]).mean()),
        kinds.chance,
        figure(f"lost without {kind} heads", torch.zeros_like(lost), lost),
        figure(f"{kind} heads beyond others", others, lost),
    )
