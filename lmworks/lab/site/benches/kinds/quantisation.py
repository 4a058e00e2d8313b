"""Weights in fewer bits: the histogram, the error, and what the model then writes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lmworks.lab.site.benches.declaration import Bench, Control, Example, StaticTable

if TYPE_CHECKING:
    from torch import Tensor

    from lmworks.lab.site.words import Words
    from lmworks.language_model import LanguageModel

TEXT, LENGTH, BITS, BINS, GROUP = "Once upon a time, there was a", 30, range(2, 9), 41, 32
MATRIX = "blocks.0.attention.output.weight"
"""Whose histogram is drawn."""


def _example() -> Example:
    """For each number of bits: the error of all matrices, what it does to the predictions, and the text."""
    from lmworks.lab.site.benches.stories import stories

    model = stories()
    weight = model.network.state_dict()[MATRIX]
    most = float(weight.abs().max())
    return {
        "most": most,
        "before": _histogram(weight, most),
        "text": _written(model),
        "bits": {str(bits): _at(model, bits, most) for bits in BITS},
        "fixed": {"text": TEXT},
    }


def rounded(weight: Tensor, bits: int) -> Tensor:
    """Each group of 32 in a row rounded to the nearest of 2 ** bits values between its least and its largest; the last
    group of a row may be shorter."""
    import torch

    parts = []
    for part in weight.split(GROUP, dim=1):
        low, high = part.amin(1, keepdim=True), part.amax(1, keepdim=True)
        scale = (high - low) / (2**bits - 1)
        codes = torch.where(scale > 0, ((part - low) / scale).round(), torch.zeros(()))
        parts.append(codes * scale + low)
    return torch.cat(parts, dim=1)


def _at(model: LanguageModel, bits: int, most: float) -> dict[str, Any]:
    from lmworks.lab.site.benches.stories import in_place_of

    state = model.network.state_dict()
    matrices = {name: one for name, one in state.items() if one.ndim == 2}
    fewer = {name: rounded(one, bits) for name, one in matrices.items()}
    error = sum(float((one - fewer[name]).square().sum()) for name, one in matrices.items())
    size = sum(one.numel() for one in matrices.values())
    groups = sum(one.shape[0] * math.ceil(one.shape[1] / GROUP) for one in matrices.values())
    changed = in_place_of(model, fewer)
    ids = model.tokenizer.encode(TEXT)
    before, after = (one.logits([ids])[0].log_softmax(-1) for one in (model, changed))
    return {
        "error": round(math.sqrt(error / sum(float(one.square().sum()) for one in matrices.values())), 4),
        "apart": round(float((before.exp() * (before - after)).sum(-1).mean()) / math.log(2), 4),
        "bytes": round(size * bits / 8 + groups * 4),
        "histogram": _histogram(fewer[MATRIX], most),
        "text": _written(changed),
    }


def _histogram(weight: Tensor, most: float) -> list[int]:
    counts = [0] * BINS
    for one in weight.flatten().tolist():
        counts[min(max(int((one + most) / (2 * most) * BINS), 0), BINS - 1)] += 1
    return counts


def _written(model: LanguageModel) -> str:
    from lmworks.generation.strategies import Greedy
    from lmworks.lab.site.benches.stories import text_of

    return text_of(model, model.generate(TEXT, Greedy(), max_new_tokens=LENGTH).tokens)


def _table(example: Example, words: Words) -> StaticTable:
    say = words.group("bench_quantisation")
    heads = (say["bits"], say["size"], say["error"], say["apart"], say["writes"])
    rows = [
        (bits, f"{one['bytes'] / 1000:.0f} KB", f"{one['error']:.2%}", f"{one['apart']:.3f}", one["text"])
        for bits, one in example["bits"].items()
    ]
    return StaticTable(say["all"], heads, rows)


BENCH = Bench(
    "quantisation",
    claims=(4, 50),
    scripts=("llama.js", "quantisation.js"),
    controls=(Control("text", "text", TEXT, live=True), Control("bits", "range", "4", 2, 8, 1)),
    example=_example,
    table=_table,
    live=True,
)
