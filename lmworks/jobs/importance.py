"""How much each input of a matrix counts on a text: the mean square of what comes in, as llama.cpp's imatrix has it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.errors import DataError
from lmworks.language_model import LanguageModel
from lmworks.models.families.gguf import TENSORS_OF
from lmworks.models.families.names import each_name
from lmworks.models.files.gguf import source_parts
from lmworks.models.input_squares import summed_squares
from lmworks.text.document import Document

WINDOW = 512
"""Tokens that are read at once."""


@torch.no_grad()
def importance(model: LanguageModel, documents: Sequence[Document], tokens: int) -> dict[str, Tensor]:
    """For each matrix of a GGUF file the mean square of each column's inputs, on about `tokens` tokens. DataError where
    the documents hold none."""
    done, window = 0, min(WINDOW, model.longest)
    head = "head" if model.network.head is not None else "embedding"
    with summed_squares(model.network) as sums, progress.task("looking at what counts", tokens, "tokens") as advance:
        for document in documents:
            ids = model.tokenizer.encode(document.text)[: tokens - done]
            for start in range(0, len(ids), window):
                part = torch.tensor([ids[start : start + window]])
                hidden = model.network.hidden(part)
                sums[head] = sums.get(head, torch.zeros(())) + hidden[0].float().square().sum(0)
                done += part.shape[1]
                advance(part.shape[1])
            if done >= tokens:
                break
    if not done:
        raise DataError("the text holds nothing that the model reads; give another text with --text")
    table = each_name(TENSORS_OF.get(model.config.family, TENSORS_OF["llama"]), model.config)
    found = {f"{name}.weight": one / done for name, one in sums.items()}
    return {part: found[name] for name, source in table if name in found for part in source_parts(source)}
