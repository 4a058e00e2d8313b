"""Tables of embeddings: made without values, and looked up with an error that says what is wrong with a number."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lmworks.basics.arrays import Float, Int
from lmworks.basics.errors import ConfigError

IDS = "ids lie between {} and {}, and the vocabulary has {:,}; encode the text with this model's tokenizer"
SEGMENTS = "segments lie between {} and {}, and the network has embeddings for {:,}; number the texts of a row from 0"


def looked_up(table: nn.Embedding, numbers: Int[Tensor, "batch seq"], otherwise: str) -> Float[Tensor, "batch seq dim"]:
    """The embeddings of numbers. ConfigError `otherwise` (the lowest, the highest, how many there are) where one has
    none: asked only when PyTorch's own check, of a CPU, has failed."""
    try:
        return table(numbers)
    except IndexError:
        found = otherwise.format(int(numbers.min()), int(numbers.max()), len(table.weight))
        raise ConfigError(found) from None


def blank_embedding(rows: int, dim: int) -> nn.Embedding:
    """An embedding without values yet: nn.Embedding itself draws them, which on the meta device takes a second
    (it imports torch._dynamo) and is thrown away."""
    return nn.Embedding.from_pretrained(torch.zeros(rows, dim), freeze=False)
