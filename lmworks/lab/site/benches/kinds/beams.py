"""Beam search as a tree: what is kept and what is dropped at each step, both scores, and greedy beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmworks.lab.site.benches.declaration import Bench, Control, Example, StaticTable

if TYPE_CHECKING:
    from lmworks.lab.site.words import Words

TEXT, WIDTH, LENGTH, PENALTY = "The cat", 3, 10, 1.0
CONTROLS = (
    Control("text", "text", TEXT, live=True),
    Control("width", "range", str(WIDTH), 1, 6, 1, live=True),
    Control("length", "range", str(LENGTH), 2, 16, 1, live=True),
    Control("penalty", "range", "1", 0, 2, 0.1),
)


def _example() -> Example:
    """Beams that `generate` keeps when it may write one token, two, and so on; what it dropped, from the logits."""
    from lmworks.generation.strategies import Beam
    from lmworks.lab.site.benches.stories import stories

    model = stories()
    prompt = model.tokenizer.encode(TEXT)
    running: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    steps: list[list[dict[str, Any]]] = []
    for length in range(1, LENGTH + 1):
        answers = model.generate(TEXT, Beam(width=WIDTH, length_penalty=PENALTY), max_new_tokens=length)
        found = {tuple(one.tokens) for one in [answers, *answers.others]}
        tried = []
        for row, (tokens, total) in enumerate(running):
            logprobs = model.logits([[*prompt, *tokens]])[0, -1].log_softmax(0)
            tried += [(total + float(one), row, (*tokens, token)) for token, one in enumerate(logprobs)]
        tried.sort(key=lambda one: -one[0])
        fate = "kept" if length < LENGTH else "finished"
        best = [
            (tokens, total, row, fate if tokens in found else "dropped") for total, row, tokens in tried[: 2 * WIDTH]
        ]
        steps.append([_named(*one) for one in best])
        running = [(tokens, total) for tokens, total, _, fate in best if fate != "dropped"]
    finished = [{"tokens": one["tokens"], "total": one["total"], **_text(one["tokens"])} for one in steps[-1][:WIDTH]]
    greedy = _greedy()
    fixed = {one.name: one.default for one in CONTROLS if one.live}
    return {"steps": steps, "finished": finished, "greedy": greedy, "fixed": fixed}


def _named(tokens: tuple[int, ...], total: float, row: int, fate: str) -> dict[str, Any]:
    return {"tokens": list(tokens), "total": round(total, 3), "row": row, "fate": fate, **_text(tokens)}


def _text(tokens: Sequence[int]) -> dict[str, Any]:
    from lmworks.lab.site.benches.stories import pieces_of, stories, text_of

    names = pieces_of(stories())
    return {"pieces": [names[token] for token in tokens], "text": text_of(stories(), tokens)}


def _greedy() -> dict[str, Any]:
    from lmworks.generation.strategies import Greedy
    from lmworks.lab.site.benches.stories import stories

    answer = stories().generate(TEXT, Greedy(), max_new_tokens=LENGTH)
    return {"tokens": answer.tokens, "total": round(sum(answer.logprobs), 3), **_text(answer.tokens)}


def _table(example: Example, words: Words) -> StaticTable:
    say = words.group("bench_beams")
    rows = [_row(one["text"], one) for one in example["finished"]]
    rows.append(_row(f"{say['greedy']}: {example['greedy']['text']}", example["greedy"]))
    return StaticTable(say["ranking"], (say["text"], say["sum"], say["score"]), rows)


def _row(text: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    return text, f"{found['total']:.2f}", f"{found['total'] / len(found['tokens']) ** PENALTY:.2f}"


BENCH = Bench(
    "beams",
    claims=(5,),
    scripts=("llama.js", "beams.js"),
    controls=CONTROLS,
    example=_example,
    table=_table,
    live=True,
)
