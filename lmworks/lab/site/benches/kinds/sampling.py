"""The next token: its probabilities, where temperature and filters cut, and the text of a seed, twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmworks.lab.site.benches.declaration import Bench, Control, Example, StaticTable

if TYPE_CHECKING:
    from lmworks.lab.site.words import Words

TEXT, SEED, LENGTH = "Once upon a time, there was a", 1, 40
CONTROLS = (
    Control("text", "text", TEXT, live=True),
    Control("temperature", "range", "1", 0, 2, 0.05),
    Control("top_k", "range", "0", 0, 50, 1),
    Control("top_p", "range", "0.9", 0.05, 1, 0.01),
    Control("min_p", "range", "0", 0, 0.5, 0.01),
    Control("seed", "range", str(SEED), 0, 20, 1, live=True),
    Control("length", "range", str(LENGTH), 5, 120, 5, live=True),
)


def _example() -> Example:
    """The logits after the text, and what three seeds write."""
    from lmworks.generation.strategies import Sample
    from lmworks.lab.site.benches.stories import pieces_of, stories, text_of

    model = stories()
    logits = model.logits([model.tokenizer.encode(TEXT)])[0, -1]
    texts: list[dict[str, Any]] = []
    for seed in (SEED, SEED, SEED + 1):
        answer = model.generate(TEXT, Sample(temperature=1.0, top_p=0.9, seed=seed), max_new_tokens=LENGTH)
        texts.append({"seed": seed, "text": text_of(model, answer.tokens)})
    return {
        "pieces": pieces_of(model),
        "logits": [round(float(one), 3) for one in logits],
        "texts": texts,
        "fixed": {one.name: one.default for one in CONTROLS},
    }


def _table(example: Example, words: Words) -> StaticTable:
    import math

    say = words.group("bench_sampling")
    weights = [math.exp(one) for one in example["logits"]]
    shares = sorted(zip(weights, example["pieces"], strict=True), reverse=True)[:12]
    rows = [(piece.replace("▁", "␣"), f"{weight / sum(weights):.1%}") for weight, piece in shares]
    return StaticTable(say["bars"], (say["token"], say["probability"]), rows)


BENCH = Bench(
    "sampling",
    claims=(6, 12),
    scripts=("llama.js", "chance.js", "sampling.js"),
    controls=CONTROLS,
    example=_example,
    table=_table,
    live=True,
)
