"""Where a translator looks: words that are the same in both languages ("Baseball") say which source word belongs to
which target word, without anybody having aligned them.

    layer = best_layer(model, pairs_of("multi30k-validation-en-de", 300))
    aligned(model, pairs, anchors(pairs), layer)        # 1 or 0 for each anchor
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.language_model import LanguageModel
from lmworks.models.hooks import hook_points, hooked
from lmworks.models.network import Network
from lmworks.tokens.source import target_ids, target_start
from lmworks.tokens.tokenizer import Tokenizer

LETTERS = 4
"""Letters that a word has at least, so that being the same in both languages means something."""
Pair = tuple[str, str]


@dataclass(frozen=True)
class Anchor:
    """A word that is the same in source and target."""

    pair: int
    source_word: int
    target_word: int
    source_words: int
    target_words: int

    @property
    def diagonal(self) -> int:
        """The source word at the same share of the sentence."""
        if self.target_words == 1:
            return 0
        return round(self.target_word * (self.source_words - 1) / (self.target_words - 1))


def anchors(asked: Sequence[Pair]) -> list[Anchor]:
    """The words of pairs that are the same in both languages and stand once on each side."""
    found = []
    for number, texts in enumerate(asked):
        source, target = ([word.strip(".,!?\"'()").lower() for word in text.split()] for text in texts)
        for at, word in enumerate(source):
            if len(word) >= LETTERS and source.count(word) == target.count(word) == 1:
                found.append(Anchor(number, at, target.index(word), len(source), len(target)))
    return found


def aligned(
    model: LanguageModel, asked: Sequence[Pair], found: Sequence[Anchor], layer: str, shift: int = 0
) -> list[float]:
    """1 for each anchor whose own source word gets the most attention, else 0. With `shift` the source is another
    sentence's, in which there is nothing to find: what is left is what positions give away."""
    hits = []
    for one in found:
        _, target = asked[one.pair]
        source, _ = asked[(one.pair + shift) % len(asked)]
        looked = word_attention(model, source, target, one.target_word, layer)
        hits.append(float(int(looked.argmax()) == one.source_word))
    return hits


def best_layer(model: LanguageModel, chosen: Sequence[Pair]) -> str:
    """The layer whose attention to the source finds most anchors of texts that are not judged."""
    found = anchors(chosen)
    return max(attention_layers(model.network), key=lambda layer: sum(aligned(model, chosen, found, layer)))


def attention_layers(network: Network) -> list[str]:
    """The hook paths of attention to the source."""
    return [path for path in hook_points(network) if path.endswith("cross_attention.pattern")]


@torch.inference_mode()
def word_attention(
    model: LanguageModel, source: str, target: str, word: int, layer: str
) -> Float[Tensor, " source_words"]:
    """How much attention each word of a source gets when the first token of a target's word is predicted."""
    tokenizer, network = model.tokenizer, model.network
    first = _word_of_token(tokenizer, target).index(word)
    ids = [target_start(tokenizer), *target_ids(tokenizer, target)]
    seen: list[Tensor] = []
    with hooked(network, {layer: seen.append}):
        memory = network.encode(torch.tensor([model.encode_prompt(source)]))
        network.hidden(torch.tensor([ids[: first + 1]]), memory=memory)
    weights = seen[-1][0, :, -1].mean(dim=0)
    words = torch.tensor(_word_of_token(tokenizer, source))
    return torch.zeros(int(words.max()) + 1).index_add(0, words, weights[: len(words)].float())


def _word_of_token(tokenizer: Tokenizer, text: str) -> list[int]:
    """The word, counted between spaces, that each token of a text belongs to."""
    _, spans = tokenizer.encode_spans(text)
    return [max(len(text[:end].split()) - 1, 0) for _, end in spans]
