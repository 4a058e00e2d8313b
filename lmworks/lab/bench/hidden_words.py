"""Words that are hidden in sentences, each to be told from others that are as frequent: claim 34's task for models of
language, small ones and a large one that has another vocabulary.

    hidden = hidden_words(text, 500)
    told(network, hidden, next_token=False)                          # 1 for each that a small network tells, else 0
    told_by(LanguageModel.load("smollm2"), hidden, text.tokenizer)   # the same of a model with tokens of its own
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass

import torch

from lmworks.lab.bench.encoders import CONTEXT, Prose
from lmworks.lab.bench.gaps import ids_of
from lmworks.language_model import LanguageModel
from lmworks.models.network import Network
from lmworks.tokens.sentence_pairs import Passages
from lmworks.tokens.tokenizer import Tokenizer

CHOICES = 16
"""Words to tell one from, itself among them."""


@dataclass(frozen=True)
class Hidden:
    """A passage with one word hidden, and the words that it may be."""

    tokens: list[int]
    """With the mask in its place."""
    at: int
    choices: list[int]
    """The hidden word first."""

    def texts(self, tokenizer: Tokenizer) -> tuple[str, list[str]]:
        """The text before the word, and what follows it with each choice in its place."""
        before = tokenizer.decode(self.tokens[: self.at])
        whole = [tokenizer.decode([*self.tokens[: self.at], one, *self.tokens[self.at + 1 :]]) for one in self.choices]
        return before, [one[len(before) :] for one in whole]


def hidden_words(text: Prose, count: int) -> list[Hidden]:
    """One word of each of the first held-out passages that hold one with two tokens before it and after it, drawn by
    the passage's number; the others that it may be are drawn as often as they are read in training."""
    rows, tokenizer = Passages(text.held_out, text.tokenizer, CONTEXT), text.tokenizer
    goes_on = {at for at in range(tokenizer.vocab_size) if tokenizer.decode([at]).startswith("##")}
    seen = _counts(text, goes_on)
    words = [at for at in seen if tokenizer.decode([at]).isalpha()]
    chances, whole, found = [seen[at] for at in words], set(words), list[Hidden]()
    for place in range(len(rows)):
        batch = rows.batch([place])
        ids = batch.tokens[0][batch.documents[0] >= 0].tolist()
        inner = [at for at in range(3, len(ids) - 3) if ids[at] in whole and ids[at + 1] not in goes_on]
        if inner and len(found) < count:
            draw = random.Random(place)
            at = draw.choice(inner)
            choices = [ids[at]]
            while len(choices) < CHOICES:
                choices += {*draw.choices(words, chances)} - {*choices}
            found.append(Hidden([*ids[:at], tokenizer.require_mask(), *ids[at + 1 :]], at, choices))
    return found


@torch.inference_mode()
def told(network: Network, hidden: Sequence[Hidden], next_token: bool) -> list[float]:
    """1 for each word that is the likeliest of its choices, else 0. A network that predicts the next token is asked at
    the token before it."""
    right = list[float]()
    for one in hidden:
        states = network.hidden(torch.tensor([one.tokens]))[:, one.at - next_token]
        right.append(float(network.logits(states)[0, one.choices].argmax() == 0))
    return right


def told_by_frequency(text: Prose, hidden: Sequence[Hidden]) -> list[float]:
    """The same of naming the choice that is read most often in training."""
    seen = _counts(text)
    return [float(max(one.choices, key=lambda word: seen[word]) == one.choices[0]) for one in hidden]


def told_by(model: LanguageModel, hidden: Sequence[Hidden], tokenizer: Tokenizer, both_sides: bool) -> list[float]:
    """The same of a model of texts: by the likelihood of each word after what stands before it or, on `both_sides`,
    of the word with all that follows."""
    pairs = list[tuple[str, str]]()
    for one in hidden:
        before, after = one.texts(tokenizer)
        words = after if both_sides else [f" {tokenizer.decode([word])}" for word in one.choices]
        pairs += [(before, each) for each in words]
    sums = torch.tensor([one.total for one in model.loglikelihood(pairs)]).view(len(hidden), CHOICES)
    return (sums.argmax(dim=1) == 0).double().tolist()


def _counts(text: Prose, goes_on: Set[int] = frozenset()) -> Counter[int]:
    """How often each token is read in training, those left out that the next one goes on."""
    return Counter(
        one
        for ids in ids_of(text.train)
        for one, after in zip(ids, [*ids[1:], None], strict=True)
        if one not in goes_on and after not in goes_on
    )
