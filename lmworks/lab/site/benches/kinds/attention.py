"""Where each head looks: tokens, matrix and formula linked, beside what distance alone would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmworks.lab.site.benches.declaration import Bench, Control, Example, StaticTable

if TYPE_CHECKING:
    from torch import Tensor

    from lmworks.lab.site.words import Words

TEXT, LAYER, HEAD = "Lily saw a dog and Tom saw a cat", 4, 6
"""Its objects, "dog" and "cat", read from their verbs in this head."""
LONGEST, OTHERS = 24, 200
"""Tokens of a text, and texts that the baseline is the mean of."""


def _example() -> Example:
    """Every head's pattern in thousandths, one head's queries and keys, and each head's mean by distance."""
    import torch

    from lmworks.inside.heads import attention_patterns
    from lmworks.lab.site.benches.stories import pieces_of, queries_and_keys, stories

    model, names = stories(), pieces_of(stories())
    tokens = model.tokenizer.encode(TEXT)
    patterns = attention_patterns(model.network, torch.tensor([tokens]))[:, 0]
    queries, keys = queries_and_keys(model, tokens, LAYER - 1, HEAD - 1)
    return {
        "pieces": [names[token] for token in tokens],
        "patterns": [[_rows(head) for head in layer] for layer in patterns],
        "vectors": {"layer": LAYER, "head": HEAD, "queries": _rounded(queries), "keys": _rounded(keys)},
        "root": model.config.head_dim,
        "baseline": _baseline(),
    }


def _rows(pattern: Tensor) -> list[list[float]]:
    return [[round(float(one), 3) for one in row[: at + 1]] for at, row in enumerate(pattern)]


def _rounded(vectors: Tensor) -> list[list[float]]:
    return [[round(float(one), 3) for one in row] for row in vectors]


def _baseline() -> list[list[dict[str, list[float]]]]:
    """Of each head, over other stories: the mean share of the first token at each place, and of each distance among
    the others."""
    import torch

    from lmworks.inside.heads import attention_patterns
    from lmworks.lab.site.benches.stories import stories
    from lmworks.text.registry import documents

    model = stories()
    text = "".join(one.text for one in documents("tinystories-sample"))
    ids = model.tokenizer.encode(text[:200_000], special=False)
    chunks = torch.tensor(ids[: OTHERS * (LONGEST - 1)]).view(OTHERS, LONGEST - 1)
    begin = torch.tensor([model.tokenizer.encode("")]).expand(OTHERS, 1)
    batch = torch.cat([begin, chunks], dim=1)
    mean = attention_patterns(model.network, batch).mean(1)
    return [[_by_distance(head) for head in layer] for layer in mean]


def _by_distance(mean: Tensor) -> dict[str, list[float]]:
    first = mean[:, 0].tolist()
    places = range(1, LONGEST)
    by = [
        sum(float(mean[at, at - back]) for at in places if back < at) / sum(back < at for at in places)
        for back in range(LONGEST - 1)
    ]
    return {"first": [round(one, 3) for one in first], "by": [round(one, 3) for one in by]}


def _table(example: Example, words: Words) -> StaticTable:
    say = words.group("bench_attention")
    names: list[str] = [piece.replace("▁", "␣") for piece in example["pieces"]]
    row: Any = example["patterns"][LAYER - 1][HEAD - 1][-1]
    title = say["numbers"].format(token=names[-1])
    return StaticTable(
        title, (say["token"], say["weight"]), [(n, f"{one:.1%}") for n, one in zip(names, row, strict=True)]
    )


BENCH = Bench(
    "attention",
    claims=(2, 22, 23, 24, 32),
    scripts=("llama.js", "attention.js"),
    controls=(
        Control("text", "text", TEXT, live=True),
        Control("layer", "range", str(LAYER), 1, 5, 1),
        Control("head", "range", str(HEAD), 1, 8, 1),
        Control("from", "range", "12", 0, LONGEST - 1, 1),
        Control("to", "range", "9", 0, LONGEST - 1, 1),
    ),
    example=_example,
    table=_table,
    live=True,
)
