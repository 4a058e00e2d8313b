"""Masked language modelling: some tokens are hidden, and predicted from both sides.

    objective = MaskedLM.of(tokenizer) + NextSentence()

Source: Devlin et al. 2018, https://arxiv.org/abs/1810.04805, section 3.1; whole words: their code's README of May 2019.
Masks are drawn anew each time that a row is read (Liu et al. 2019, section 4.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field

from lmworks.basics.errors import ConfigError
from lmworks.models.families.bert import BERT
from lmworks.objectives.declaration import FullRow, ObjectiveKind, TokenSettings
from lmworks.objectives.loss import Loss, OfStates
from lmworks.objectives.token_objective import TokenObjective, require_arrangement
from lmworks.tokens.labels import IGNORE

if TYPE_CHECKING:
    from torch import Tensor

    from lmworks.basics.arrays import Bool, Float, Int
    from lmworks.models.network import Network
    from lmworks.objectives.labels import WrongLabels
    from lmworks.tokens.batch import Batch
    from lmworks.tokens.tokenizer import Tokenizer

MASK, RANDOM = 0.8, 0.1
"""Shares of the chosen tokens that become the mask token, and a random one; the rest stay as they are."""


@dataclass(eq=False, kw_only=True)
class MaskedLM(TokenObjective, OfStates):
    """Cross-entropy of the tokens that were chosen; only their states go through the head."""

    mask: int
    """The id of the mask token."""

    ordinary: Bool[np.ndarray, " vocab"]
    """True for tokens that may be chosen, and drawn as random ones: all but the special ones."""

    begins: Bool[np.ndarray, " vocab"] | None = None
    """True for tokens that begin a word, where all tokens of a word are chosen together."""

    share: float = 0.15
    """Share of the ordinary tokens that is chosen in each row; at least one is."""

    @classmethod
    def of(
        cls,
        tokenizer: Tokenizer,
        *,
        share: float = 0.15,
        whole_word: bool = False,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
    ) -> Self:
        """The objective for a tokenizer; ConfigError where it has no mask token, or does not say where words begin."""
        from lmworks.tokens.words import begins_a_word

        ordinary = np.array([number not in tokenizer.special for number in range(tokenizer.vocab_size)])
        return cls(
            mask=tokenizer.require_mask(),
            ordinary=ordinary,
            begins=begins_a_word(tokenizer) if whole_word else None,
            share=share,
            label_smoothing=label_smoothing,
            z_loss=z_loss,
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share < 1:
            raise ConfigError(f"share is {self.share!r}; mask more than none and less than all, 0.15 for instance")

    def fits(self, network: Network) -> None:
        """ConfigError for a network that is no encoder."""
        require_arrangement(network, self, "encoder", "restores tokens from both sides")

    def of_states(self, network: Network, batch: Batch, hidden: Float[Tensor, "batch seq dim"]) -> Loss:
        """The loss of a batch that `prepare` masked."""
        return Loss(self.token_loss(network, hidden, batch.labels), batch.supervised)

    def prepare(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        """The batch with tokens masked, and those that stood there as the only labels."""
        tokens = batch.tokens.cpu().numpy().copy()
        labels = np.full_like(tokens, IGNORE)
        documents = batch.documents.cpu().numpy()
        for row, seed in enumerate(seeds):
            generator = np.random.default_rng(seed)
            chosen = self._chosen(tokens[row], documents[row], generator)
            labels[row, chosen] = tokens[row, chosen]
            draw = generator.random(len(chosen))
            tokens[row, chosen[draw < MASK]] = self.mask
            replaced = chosen[(draw >= MASK) & (draw < MASK + RANDOM)]
            tokens[row, replaced] = generator.choice(np.flatnonzero(self.ordinary), len(replaced))
        return replace(batch, tokens=batch.tokens.new_tensor(tokens), labels=batch.tokens.new_tensor(labels))

    def wrong_labels(self, plain: Batch, prepared: Batch) -> WrongLabels:
        """See Objective: the labels are the tokens that were masked."""
        from lmworks.objectives.labels import in_their_place

        return in_their_place(plain, prepared)

    def _chosen(
        self, tokens: Int[np.ndarray, " seq"], documents: Int[np.ndarray, " seq"], generator: np.random.Generator
    ) -> Int[np.ndarray, " chosen"]:
        """The places of a row that are to be predicted."""
        places = np.flatnonzero((documents >= 0) & self.ordinary[tokens])
        if not len(places):
            return places
        wanted = max(1, round(self.share * len(places)))
        if self.begins is None:
            return np.sort(generator.choice(places, wanted, replace=False))
        # A word ends where the next begins, and at whatever cannot be chosen or belongs to another document.
        first = self.begins[tokens[places]]
        first[0] = True
        first[1:] |= (np.diff(places) > 1) | (np.diff(documents[places]) != 0)
        words = np.split(places, np.flatnonzero(first)[1:])
        shortest = min(map(len, words))
        taken: list[np.ndarray] = []
        for word in generator.permutation(len(words)):
            left = wanted - sum(map(len, taken))
            # As in BERT, a word that is too long for what is left is skipped; but every row has something chosen.
            if len(words[word]) <= left or (not taken and len(words[word]) == shortest):
                taken.append(words[word])
            if left <= 0:
                break
        return np.sort(np.concatenate(taken))


class MaskedSettings(TokenSettings):
    """Of an objective that restores masked tokens."""

    share: float = Field(default=0.15, gt=0, lt=1)
    """Share of the tokens that are masked."""

    whole_word: bool = False
    """Mask all tokens of a word, or none."""


def _make(settings: MaskedSettings, tokenizer: Tokenizer) -> MaskedLM:
    return MaskedLM.of(
        tokenizer,
        share=settings.share,
        whole_word=settings.whole_word,
        label_smoothing=settings.label_smoothing,
        z_loss=settings.z_loss,
    )


def _planned(settings: MaskedSettings, vocabulary: int) -> MaskedLM:
    return MaskedLM(mask=0, ordinary=np.ones(vocabulary, bool), share=settings.share)


def _row(settings: MaskedSettings, context: int) -> FullRow:
    return FullRow(context, 0, max(round(settings.share * context), 1))


MASKED = ObjectiveKind(
    "masked",
    "tokens that were masked, from both sides (BERT)",
    MaskedSettings,
    "encoder",
    _make,
    task="filling",
    network={
        "family": "bert",
        **BERT.fixed,
        "activation": "gelu",
        "segments": 2,
        "head_transform": True,
        "head_bias": True,
    },
    row=_row,
    planned=_planned,
)
