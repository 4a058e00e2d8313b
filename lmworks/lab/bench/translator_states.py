"""Inside translators: what their states are at each text, and a decoder that sees nothing of the source.

encoder_states(model, texts)                        # means over the source
decoder_states(model, texts)                        # means over the translation, as the decoder writes it
with hooked(model.network, silenced(model.network)): ...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.encoding.embedding import batches_by_length, pooled
from lmworks.evaluation.answers import whole_answers
from lmworks.generation.strategies import Greedy
from lmworks.lab.bench.encoders import MEAN, LabelledTexts, regression_hits
from lmworks.lab.bench.translators import CONTEXT
from lmworks.lab.contrast import Condition
from lmworks.lab.metric import Metric
from lmworks.language_model import LanguageModel
from lmworks.models.hooks import HookFunction, hook_points
from lmworks.models.network import Network
from lmworks.tokens.pairs import padded, real
from lmworks.tokens.source import source_ids, target_start

ENCODER_STATES, DECODER_STATES, LONE_DECODER, LONE_ENCODER, UNTRAINED = Condition.named(
    "the encoder's states",
    "the decoder's states as it writes",
    "a lone decoder's states",
    "a lone encoder's states",
    "an untrained encoder's states",
)
TOLD = Metric("what a question asks for, told", margin=0.02, ideal=1.0)
WRITTEN = 40
"""Tokens that the decoder writes for a text, at most."""
Vectors = Float[Tensor, "texts dim"]
Reader = Callable[[Sequence[str]], Vectors]


def probed(
    both: LanguageModel, decoder: LanguageModel, encoder: LanguageModel, data: LabelledTexts, seed: int
) -> dict[Condition, list[float]]:
    """1 for each test text that a linear probe tells from the states of each network, else 0."""
    fresh = LanguageModel(Network(both.network.config).initialise(seed, "width"), both.tokenizer)
    readers: dict[Condition, Reader] = {
        ENCODER_STATES: lambda texts: encoder_states(both, texts),
        DECODER_STATES: lambda texts: decoder_states(both, texts),
        LONE_DECODER: lambda texts: lone_states(decoder, texts),
        LONE_ENCODER: lambda texts: lone_states(encoder, texts),
        UNTRAINED: lambda texts: encoder_states(fresh, texts),
    }
    classes = {part: numbers for part, (_, numbers) in data.parts.items()}
    return {
        name: regression_hits({part: states(texts) for part, (texts, _) in data.parts.items()}, classes)
        for name, states in readers.items()
    }


@torch.inference_mode()
def encoder_states(model: LanguageModel, texts: Sequence[str]) -> Vectors:
    """The mean over what the encoder makes of each text."""
    vectors = torch.zeros(len(texts), model.config.dim)
    for places, tokens, mask in batches_by_length(_read(model, texts), model.network.device):
        vectors[places] = pooled(model.network.encode(tokens, mask).states.float(), mask, MEAN)
    return vectors


@torch.inference_mode()
def lone_states(model: LanguageModel, texts: Sequence[str]) -> Vectors:
    """The same of a decoder, to which the text is a prefix that it reads from both sides, or of an encoder."""
    vectors = torch.zeros(len(texts), model.config.dim)
    for places, tokens, mask in batches_by_length(_read(model, texts), model.network.device):
        prefix = mask if model.config.arrangement == "decoder" else None
        vectors[places] = pooled(model.network.hidden(tokens, mask, prefix=prefix).float(), mask, MEAN)
    return vectors


@torch.inference_mode()
def decoder_states(model: LanguageModel, texts: Sequence[str]) -> Vectors:
    """The mean over the decoder's states at the tokens that it writes for each text."""
    sources, start = _read(model, texts), target_start(model.tokenizer)
    written = [[start, *answer.tokens[:-1]] for answer in whole_answers(model, texts, Greedy(), WRITTEN)]
    vectors = torch.zeros(len(texts), model.config.dim)
    for places, tokens, mask in batches_by_length(sources, model.network.device):
        rows = [written[place] for place in places]
        hidden = model.network.hidden(padded(rows), memory=model.network.encode(tokens, mask))
        vectors[places] = pooled(hidden.float(), real(rows), MEAN)
    return vectors


def _read(model: LanguageModel, texts: Sequence[str]) -> list[list[int]]:
    return [source_ids(model.tokenizer, text)[:CONTEXT] for text in texts]


def silenced(network: Network) -> dict[str, HookFunction]:
    """Functions that take away what a decoder reads of the source."""
    return {path: torch.zeros_like for path in hook_points(network) if path.endswith("cross_attention_output")}
