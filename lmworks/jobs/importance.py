"""How much each input of a matrix counts on a text: the mean square of what comes in, as llama.cpp's imatrix has it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lmworks.basics import progress
from lmworks.basics.errors import DataError
from lmworks.language_model import LanguageModel
from lmworks.models.families.gguf import TENSORS_OF
from lmworks.models.families.names import each_name
from lmworks.models.files.gguf import source_parts
from lmworks.models.linear import Linear
from lmworks.text.document import Document

WINDOW = 512
"""Tokens that are read at once."""


@torch.no_grad()
def importance(model: LanguageModel, documents: Sequence[Document], tokens: int) -> dict[str, Tensor]:
    """For each matrix of a GGUF file the mean square of each column's inputs, on about `tokens` tokens. DataError where
    the documents hold none."""
    sums: dict[str, Tensor] = {}

    def look(name: str, matrix: Linear) -> torch.utils.hooks.RemovableHandle:
        def before(_: nn.Module, given: tuple[Tensor]) -> None:
            sums[name] = sums.get(name, torch.zeros(())) + given[0].flatten(0, -2).float().square().sum(0)

        return matrix.register_forward_pre_hook(before)

    handles = [look(f"{name}.weight", one) for name, one in model.network.named_modules() if isinstance(one, Linear)]
    done, window = 0, min(WINDOW, model.longest)
    try:
        with progress.task("looking at what counts", tokens, "tokens") as advance:
            for document in documents:
                ids = model.tokenizer.encode(document.text)[: tokens - done]
                for start in range(0, len(ids), window):
                    part = torch.tensor([ids[start : start + window]])
                    hidden = model.network.hidden(part)
                    head = "head.weight" if model.network.head is not None else "embedding.weight"
                    sums[head] = sums.get(head, torch.zeros(())) + hidden[0].float().square().sum(0)
                    done += part.shape[1]
                    advance(part.shape[1])
                if done >= tokens:
                    break
    finally:
        for handle in handles:
            handle.remove()
    if not done:
        raise DataError("the text holds nothing that the model reads; give another text with --text")
    table = each_name(TENSORS_OF.get(model.config.family, TENSORS_OF["llama"]), model.config)
    return {part: sums[name] / done for name, source in table if name in sums for part in source_parts(source)}
