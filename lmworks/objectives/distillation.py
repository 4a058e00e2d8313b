"""Distillation: a student predicts the text, and what its teacher would have predicted in its place.

    (1 - share) * cross-entropy + share * temperature^2 * KL(teacher / temperature || student / temperature)

Sources: Hinton et al. 2015, https://arxiv.org/abs/1503.02531, section 2 (temperature, and its square, which keeps the
gradient's size); Sanh et al. 2019, https://arxiv.org/abs/1910.01108, section 3 (the cosine of the last states); Jiao et
al. 2020 (TinyBERT), https://arxiv.org/abs/1909.10351, section 3.1 (a linear map to a wider teacher's states, which is
trained along and thrown away).

The teacher is asked while the student trains, or its predictions come with the batch as samples (`Batch.taught`): a
share of n / samples for a token that was drawn n times, whose gradient is right on average (Anshumann et al. 2025,
https://arxiv.org/abs/2503.16870), as that of the k likeliest tokens is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lmworks.basics.arrays import Float, Int
from lmworks.basics.errors import ConfigError
from lmworks.models.network import Network
from lmworks.objectives.divergence import Predictions, logits_of
from lmworks.objectives.labels import WrongLabels, next_tokens
from lmworks.objectives.loss import Loss, Objective, check_strength
from lmworks.objectives.token_objective import require_arrangement
from lmworks.tokens.batch import Batch, Taught
from lmworks.tokens.labels import IGNORE

ROWS = 256
MAP = "map_to_teacher"
"""The network's part, for the length of a run, that makes its states as wide as its teacher's."""


class Terms(NamedTuple):
    """How the two losses are mixed."""

    share: float
    """Of the teacher's predictions; the rest is the text's."""
    temperature: float


@dataclass(eq=False)
class Distillation(Objective):
    """The mean over the supervised tokens of both losses, mixed; with `states`, of the states' distance too."""

    teacher: Callable[[Batch], Predictions] | None = None
    """What predicts a batch that brings no samples."""
    share: float = 0.5
    temperature: float = 1.0
    states: float = 0.0
    """Times 1 - the cosine between the last states of the two."""
    width: int | None = None
    """Of the teacher's states; a student of another width learns a linear map to them. None where both are as wide."""

    def __post_init__(self) -> None:
        check_strength("states", self.states)
        if not 0.0 <= self.share <= 1.0:
            raise ConfigError(f"share is {self.share!r}; it must be from 0 (the text alone) to 1 (the teacher alone)")
        if not 0.0 < self.temperature < float("inf"):
            raise ConfigError(f"temperature is {self.temperature!r}; it must be above 0 and a finite number")

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """The loss of a batch. ConfigError for a network that is no decoder, and for states of another width without
        a map to the teacher's."""
        require_arrangement(network, self, "decoder", "predicts each next token from those before it")
        states = network.hidden(batch.tokens, documents=batch.documents).flatten(0, 1)
        labels = batch.labels.flatten()
        found = list(network.softmaxes(states, labels))
        if len(found) != 1:
            raise ConfigError("an adaptive softmax never computes all predictions, which are compared here")
        own, head, _ = found[0]
        rows = (labels != IGNORE).nonzero()[:, 0]
        wanted: Predictions | Taught | None = None
        if batch.taught is not None:
            wanted = batch.taught.of(rows)
        elif self.teacher is not None and (self.share or self.states):
            said = self.teacher(batch)
            wanted = said._replace(states=said.states[rows])
        learnt = imitation(
            own[rows], head, labels[rows], wanted, Terms(self.share, self.temperature), network.config.logit_cap
        )
        loss = Loss(learnt, batch.supervised)
        if not self.states:
            return loss
        assert isinstance(wanted, Predictions)
        exact = torch.promote_types(own.dtype, torch.float32)
        apart = 1 - torch.cosine_similarity(_mapped(network, own[rows], wanted.states), wanted.states.to(exact))
        return loss + Loss(self.states * apart.sum(), batch.supervised)

    @contextmanager
    def along(self, network: Network) -> Iterator[None]:
        """See Objective: the map to the states of a teacher of another width, in float32."""
        if not self.states or self.width is None or self.width == network.head_weight.shape[1]:
            yield
            return
        setattr(network, MAP, _map(network.head_weight, self.width))
        try:
            yield
        finally:
            delattr(network, MAP)

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """Supervised tokens, for each part."""
        return (batch.supervised,) * (2 if self.states else 1)

    def wrong_labels(self, plain: Batch, prepared: Batch) -> WrongLabels:
        """See Objective: the labels are the next tokens."""
        return next_tokens(prepared)


def _map(head: Tensor, width: int) -> nn.Linear:
    """To states of this width: random, and the same in each run."""
    made = nn.Linear(head.shape[1], width, bias=False, device=head.device, dtype=torch.float32)
    drawn = torch.randn(made.weight.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made.weight.copy_(drawn / head.shape[1] ** 0.5)
    return made


def _mapped(network: Network, own: Float[Tensor, "rows dim"], wanted: Tensor) -> Float[Tensor, "rows wide"]:
    """The student's states, as wide as its teacher's. ConfigError where nothing makes them so."""
    exact = torch.promote_types(own.dtype, torch.float32)
    map_to_teacher = getattr(network, MAP, None)
    if map_to_teacher is not None:
        return torch.nn.functional.linear(own.to(exact), map_to_teacher.weight.to(exact))
    if own.shape[1] != wanted.shape[1]:
        raise ConfigError(
            f"{{at}}states compares states of {own.shape[1]} dimensions with the teacher's of {wanted.shape[1]}, and "
            "no map between them is trained along; enter the objective's `along`, or set it to 0"
        )
    return own.to(exact)


def imitation(
    states: Float[Tensor, "rows dim"],
    head: Float[Tensor, "vocab dim"],
    labels: Int[Tensor, " rows"],
    wanted: Predictions | Taught | None,
    terms: Terms,
    logit_cap: float | None = None,
) -> Float[Tensor, ""]:
    """Both losses of softmax(states head^T), mixed and summed over the rows, in nats, with one product by the head.

    Of a teacher with a smaller vocabulary than the head's, or a larger one, the ids that both have count. With
    `wanted` None the text alone counts, by 1 - share.
    """
    total: Tensor = _Imitation.apply(states, head, labels, wanted, terms, logit_cap)
    return total


class _Imitation(torch.autograd.Function):
    """Gradients are made in the forward, where the logits of a few rows are at hand: see cross_entropy.py."""

    @staticmethod
    def forward(
        context: Any,
        states: Tensor,
        head: Tensor,
        labels: Tensor,
        wanted: Predictions | Taught | None,
        terms: Terms,
        cap: float | None,
    ) -> Tensor:
        exact = torch.promote_types(states.dtype, torch.float32)
        to_states, to_head = context.needs_input_grad[:2]
        states_gradient = torch.empty_like(states) if to_states else None
        head_gradient = torch.zeros_like(head, dtype=exact) if to_head else None
        total = torch.zeros((), dtype=exact, device=states.device)
        for start in range(0, len(states), ROWS):
            part = slice(start, min(start + ROWS, len(states)))
            logits = logits_of(states[part], head, cap)
            loss, gradient = _mixed(logits, labels[part], None if wanted is None else _part(wanted, part), terms)
            total += loss
            if cap is not None:
                gradient *= logits.div_(cap).square_().neg_().add_(1)
            gradient = gradient.to(states.dtype)
            if states_gradient is not None:
                states_gradient[part] = gradient @ head
            if head_gradient is not None:
                head_gradient += gradient.T @ states[part]
        context.save_for_backward(*(one for one in (states_gradient, head_gradient) if one is not None))
        context.head_dtype = head.dtype
        return total

    @staticmethod
    def backward(context: Any, scale: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        saved = list(context.saved_tensors)
        to_states, to_head = context.needs_input_grad[:2]
        states = saved.pop(0) * scale if to_states else None
        head = (saved.pop(0) * scale).to(context.head_dtype) if to_head else None
        return (states, head, *(None,) * 4)


def _part(wanted: Predictions | Taught, part: slice) -> Predictions | Taught:
    if isinstance(wanted, Taught):
        return Taught(wanted.ids[part], wanted.entropy[part])
    return wanted._replace(states=wanted.states[part])


def _mixed(logits: Tensor, labels: Tensor, wanted: Predictions | Taught | None, terms: Terms) -> tuple[Tensor, Tensor]:
    """The mixed loss of some rows, and its gradient by their logits."""
    share, temperature = terms
    gradient = torch.zeros_like(logits)
    total = logits.new_zeros(())
    if share < 1:
        given = logits.log_softmax(1)
        total = -(1 - share) * given.gather(1, labels[:, None]).sum()
        gradient = given.exp_()
        gradient.scatter_add_(1, labels[:, None], gradient.new_full((len(labels), 1), -1.0))
        gradient *= 1 - share
    if share and wanted is not None:
        far, toward = _apart((logits / temperature).log_softmax(1), wanted, temperature)
        total = total + share * temperature**2 * far
        gradient.add_(toward, alpha=share * temperature)
    return total, gradient


def _apart(given: Tensor, wanted: Predictions | Taught, temperature: float) -> tuple[Tensor, Tensor]:
    """KL(teacher || student), summed over rows of the student's log-probabilities, and their probabilities' distance:
    the gradient of the KL by the student's logits over the temperature."""
    if isinstance(wanted, Taught):
        ids = wanted.ids.long()
        each = 1 / ids.shape[1]
        far = -wanted.entropy.sum() - given.gather(1, ids).sum() * each
        toward = given.exp()
        return far, toward.scatter_add_(1, ids, toward.new_full(ids.shape, -each))
    size = min(wanted.head.shape[0], given.shape[1])
    logits = logits_of(wanted.states, wanted.head[:size], wanted.logit_cap)
    logs = (logits / temperature).log_softmax(1)
    likely = logs.exp()
    far = (likely * (logs - given[:, :size])).sum()
    toward = given.exp()
    toward[:, :size] -= likely
    return far, toward


@torch.no_grad()
def drawn(
    logits: Float[Tensor, "rows vocab"], count: int, temperature: float, generator: torch.Generator
) -> tuple[Int[Tensor, "rows count"], Float[Tensor, " rows"]]:
    """Ids drawn from softmax(logits / temperature), each as often as count times its probability on average, and the
    entropy of each row in nats.

    The draws of a row stand at equal distances on the line of all probabilities, from one random beginning on: each id
    is drawn within 1 of count times its probability, where independent draws stray by the root of that.
    """
    sharper = logits / temperature
    likely = sharper.softmax(1)
    entropy = sharper.logsumexp(1) - torch.linalg.vecdot(likely, sharper.clamp(min=torch.finfo(sharper.dtype).min))
    ends = likely.cumsum(1, dtype=torch.float64)  # sums in float32 would move ids of little probability
    begin = torch.rand(len(logits), 1, generator=generator, dtype=torch.float64)
    places = (begin + torch.arange(count)) / count * ends[:, -1:]
    ids = torch.searchsorted(ends, places, right=True)
    return ids.clamp_(max=logits.shape[1] - 1), entropy.clamp_(min=0).float()
