"""Span corruption: stretches of a text are cut out, each a sentinel in the source, and the target says what they were.

    Thank you for inviting me to your party last week
    source   Thank you <extra_id_0> me to your party <extra_id_1> week
    target   <extra_id_0> for inviting <extra_id_1> last <extra_id_2>

Source: Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 3.1.4, and T5's code (random_spans_noise_mask).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field

from lmworks.basics.errors import ConfigError
from lmworks.models.families.t5 import T5
from lmworks.objectives.declaration import FullRow, ObjectiveKind, TokenSettings
from lmworks.objectives.kinds.seq2seq import SequenceToSequence
from lmworks.tokens.labels import IGNORE

if TYPE_CHECKING:
    from lmworks.basics.arrays import Bool
    from lmworks.objectives.labels import WrongLabels
    from lmworks.tokens.batch import Batch
    from lmworks.tokens.tokenizer import Tokenizer


@dataclass(eq=False, kw_only=True)
class SpanCorruption(SequenceToSequence):
    """Cross-entropy of the spans that were cut out of each row's text, for an encoder-decoder."""

    sentinels: tuple[int, ...]
    """The ids that stand for spans, in their order."""

    ends: tuple[int, ...]
    """What ends a source and a target; none, or the end of a document."""

    start: int
    """What the decoder reads before a target."""

    special: frozenset[int] = frozenset()
    """Ids that are no text, such as the ends of documents: they are left out."""

    share: float = 0.15
    """Share of the tokens that is cut out."""

    mean_length: float = 3.0
    """Tokens of a span, on average."""

    @classmethod
    def of(
        cls,
        tokenizer: Tokenizer,
        *,
        share: float = 0.15,
        mean_length: float = 3.0,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
    ) -> Self:
        """The objective for a tokenizer; ConfigError where it has no sentinels."""
        from lmworks.tokens.source import target_start

        if not tokenizer.sentinels:
            raise ConfigError(
                f"the tokenizer of {tokenizer.name} has no sentinels (<extra_id_0>, ...) that could stand for a span; "
                "train one with sentinels = 100"
            )
        end = tokenizer.document_end
        return cls(
            sentinels=tokenizer.sentinels,
            ends=() if end is None else (end,),
            start=target_start(tokenizer),
            special=frozenset(tokenizer.special) - {tokenizer.unknown},
            share=share,
            mean_length=mean_length,
            label_smoothing=label_smoothing,
            z_loss=z_loss,
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share < 1 or self.mean_length < 1:
            raise ConfigError(
                f"share is {self.share!r} and mean_length {self.mean_length!r}; cut out more than none and less than "
                "all, in spans of at least 1 token"
            )

    def prepare(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        """Sources and targets of the rows' texts; a row of fewer than two tokens has an empty target, without loss."""
        import torch

        from lmworks.tokens.batch import Batch
        from lmworks.tokens.pairs import padded, real

        pairs = [
            self.corrupted(tokens[documents >= 0].tolist(), seed)
            for tokens, documents, seed in zip(batch.tokens.cpu(), batch.documents.cpu(), seeds, strict=True)
        ]
        sources, targets = [source or [self.start] for source, _ in pairs], [target for _, target in pairs]
        tokens = padded([[self.start, *target[:-1]] for target in targets])
        labels = torch.full_like(tokens, IGNORE)
        for row, target in enumerate(targets):
            labels[row, : len(target)] = torch.tensor(target, dtype=torch.long)
        has_text = torch.arange(tokens.shape[1]) < torch.tensor([max(len(one), 1) for one in targets])[:, None]
        made = Batch(
            tokens,
            labels,
            torch.arange(tokens.shape[1]).expand_as(tokens),
            torch.where(has_text, 0, -1),
            source=padded(sources),
            source_real=real(sources),
        )
        return made.to(batch.tokens.device)

    def wrong_labels(self, plain: Batch, prepared: Batch) -> WrongLabels:
        """See Objective: the text of the first row against what a source and a target of it make together."""
        from lmworks.objectives.labels import WrongLabels

        ids = plain.tokens[0][plain.documents[0] >= 0].tolist()
        text = [token for token in ids if token not in self.special]
        again = self.reconstructed(*self.corrupted(ids, 0))
        wrong = sum(one != other for one, other in zip(text, again, strict=False)) + abs(len(text) - len(again))
        return WrongLabels("the text and source with target", wrong, "tokens")

    def corrupted(self, ids: Sequence[int], seed: int) -> tuple[list[int], list[int]]:
        """The source and the target of a text; ConfigError where it has more spans than there are sentinels."""
        ids = [token for token in ids if token not in self.special]
        if len(ids) < 2:
            return [*ids, *self.ends], []
        cut = self._cut(len(ids), np.random.default_rng(seed))
        source: list[int] = []
        target: list[int] = []
        spans = 0
        for at, token in enumerate(ids):
            if cut[at] and not (at and cut[at - 1]):
                source.append(self._sentinel(spans))
                target.append(self._sentinel(spans))
                spans += 1
            (target if cut[at] else source).append(token)
        return [*source, *self.ends], [*target, self._sentinel(spans), *self.ends]

    def _sentinel(self, number: int) -> int:
        if number >= len(self.sentinels):
            raise ConfigError(
                f"a text is cut into more than {len(self.sentinels) - 1} spans, and there are "
                f"{len(self.sentinels)} sentinels; take shorter rows, longer spans or more sentinels"
            )
        return self.sentinels[number]

    def _cut(self, size: int, generator: np.random.Generator) -> Bool[np.ndarray, " tokens"]:
        """True on what is cut out: spans of random length, as many as kept stretches of random length before them."""
        out = min(max(round(self.share * size), 1), size - 1)
        spans = min(max(round(out / self.mean_length), 1), out, size - out)
        kept, gone = (_lengths(count, spans, generator) for count in (size - out, out))
        return np.repeat(np.tile([False, True], spans), np.stack([kept, gone], 1).reshape(-1))

    def reconstructed(self, source: Sequence[int], target: Sequence[int]) -> list[int]:
        """The text that a source and its target came from."""
        spans: dict[int, list[int]] = {}
        here: list[int] = []
        for token in target:
            if token in self.sentinels:
                here = spans.setdefault(token, [])
            elif token not in self.ends:
                here.append(token)
        return [
            token
            for one in source
            if one not in self.ends
            for token in (spans.get(one, []) if one in self.sentinels else [one])
        ]


def _lengths(total: int, parts: int, generator: np.random.Generator) -> np.ndarray:
    """A number as a sum of `parts` numbers of at least 1, every such sum equally likely."""
    cuts = np.sort(generator.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


class SpanSettings(TokenSettings):
    """Of an objective that restores spans."""

    share: float = Field(default=0.15, gt=0, lt=1)
    """Share of the tokens that are cut out."""

    span_length: float = Field(default=3.0, ge=1)
    """Tokens of a span, on average."""


def _make(settings: SpanSettings, tokenizer: Tokenizer) -> SpanCorruption:
    return SpanCorruption.of(
        tokenizer,
        share=settings.share,
        mean_length=settings.span_length,
        label_smoothing=settings.label_smoothing,
        z_loss=settings.z_loss,
    )


def _row(settings: SpanSettings, context: int) -> FullRow:
    """Each cut is a sentinel in the source; the target holds them all, and one more."""
    out = max(round(settings.share * context), 1)
    cuts = max(round(out / settings.span_length), 1)
    return FullRow(out + cuts + 2, context - out + cuts + 1, out + cuts + 2)


SPANS = ObjectiveKind(
    "spans",
    "stretches of a text that were cut out (T5)",
    SpanSettings,
    "encoder-decoder",
    _make,
    task="restoring",
    network={"family": "t5", **T5.fixed, "activation": "relu", "gated": False},
    row=_row,
    planned=lambda settings, vocabulary: SequenceToSequence(),
)
