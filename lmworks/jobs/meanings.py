"""Words that mean something before any training: embeddings that begin as what a model of sentences makes of each word.

    stay = begin_with_meanings(network, tokenizer, "minilm")

Most words of a few thousand captions stand in one of them alone. A network that learns words from such captions draws
nothing for a word that it has not seen; here such a word lies beside those that mean the same.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lmworks.basics.errors import ConfigError
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.models.network import Network
from lmworks.tokens.tokenizer import Tokenizer

BROKEN = "\N{REPLACEMENT CHARACTER}"
"""What a part of a character reads as."""


def begin_with_meanings(network: Network, tokenizer: Tokenizer, text_model: str) -> Bool[Tensor, " vocab"]:
    """Let the embedding of each token that is a text begin as the vector that a model of sentences gives that text,
    turned to the network's width by its main directions, and let these rows stay as they are in training.

    Returns which rows stay. ConfigError for a model that makes no vectors of texts.
    """
    texts = [tokenizer.decode([token]).strip() for token in range(network.config.vocab_size)]
    special = set(tokenizer.special.values())
    stays = torch.tensor([bool(text) and BROKEN not in text and at not in special for at, text in enumerate(texts)])
    vectors = _vectors([text for text, kept in zip(texts, stays.tolist(), strict=True) if kept], text_model)
    weight = network.embedding.weight
    with torch.no_grad():
        usual = weight.float().std()
        turned = torch.zeros(len(vectors), weight.shape[1])
        main = _main_directions(vectors, weight.shape[1])
        turned[:, : main.shape[1]] = main
        weight[stays] = (turned * usual / turned.square().mean().sqrt()).to(weight)

    def still(gradient: Tensor) -> Tensor:
        return gradient.masked_fill(stays.to(gradient.device)[:, None], 0.0)

    weight.register_hook(still)  # type: ignore[no-untyped-call]
    return stays


def _vectors(texts: list[str], text_model: str) -> Float[Tensor, "texts width"]:
    model = load(text_model, dtype="float32", compress="none")
    if not isinstance(model, LanguageModel) or model.network.config.causal:
        raise ConfigError(f"model.text_model: {text_model} makes no vectors of texts; give minilm, or leave it out")
    return model.embed(texts).float()


def _main_directions(vectors: Float[Tensor, "texts width"], most: int) -> Float[Tensor, "texts directions"]:
    """How far each vector, less their mean, goes in each of the directions in which they differ most."""
    apart = vectors - vectors.mean(0)
    _, _, directions = torch.linalg.svd(apart, full_matrices=False)
    ahead = directions * directions.gather(1, directions.abs().argmax(1, keepdim=True)).sign()  # else a draw decides
    return apart @ ahead[:most].T
