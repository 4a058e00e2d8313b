"""Which adapter the router chooses for held-out texts: kinds that are far apart or near, whole texts and short ones.

    python -m benchmarks.routing --store

Seven kinds of text from the data registry. Of each the router knows what `lmworks tune smollm2 --retain router` saves:
means of the base's states over 64 texts, which do not depend on what an adapter learns, so that none is trained here.
Then kinds stand beside the base in groups, and other texts of theirs are asked, as is text that belongs to the base.
Texts of one article or chapter are all learnt or all asked. What is stored lies in benchmarks/routing.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from benchmarks.machine import this_machine
from lmworks.adaptation.old_text import own_texts
from lmworks.adaptation.router import BEGINNING, LEARNT_FROM, KindOfText, Router, openings, states, without
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.statistics import proportion
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.text.document import Document
from lmworks.text.sources import read

STORED = Path(__file__).with_suffix(".json")
ASKED = 100
"""Texts of each kind."""
BASE = "the base"


def _documents(name: str) -> list[tuple[str, str]]:
    """Where each text comes from, and the words: of a conversation those of the user."""
    return [(one.source, _words(one)) for one in read(name).documents]


def _words(document: Document) -> str:
    return document.text if document.messages is None else str(document.messages[0]["content"])


def _paragraphs(name: str) -> list[tuple[str, str]]:
    """Each paragraph of 20 words or more."""
    found = [(source, one.strip()) for source, text in _documents(name) for one in text.split("\n\n")]
    return [(source, one) for source, one in found if len(one.split()) >= 20]


def _news(of: str) -> list[tuple[str, str]]:
    """Articles of one class."""
    every = read("ag-news").documents
    return [(one.source, _words(one)) for one in every if one.messages and one.messages[-1]["content"] == of]


KINDS: dict[str, Callable[[], list[tuple[str, str]]]] = {
    "French descriptions": lambda: _documents("multi30k-fr"),
    "German descriptions": lambda: _documents("multi30k-de"),
    "instructions": lambda: _documents("mbpp"),
    "encyclopedia": lambda: _paragraphs("squad2-half"),
    "Python's reference": lambda: _paragraphs("python-reference"),
    "news of sports": lambda: _news("Sports"),
    "news of business": lambda: _news("Business"),
}
GROUPS = {
    "two languages": ("French descriptions", "German descriptions"),
    "instructions beside encyclopedia": ("instructions", "encyclopedia"),
    "Python's reference beside tasks to program": ("Python's reference", "instructions"),
    "two sections of one newspaper": ("news of sports", "news of business"),
    "all seven": tuple(KINDS),
}
FORMS: dict[str, Callable[[str], Any]] = {
    "whole": lambda text: text,
    "four words": lambda text: " ".join(text.split()[:4]),
    "two words": lambda text: " ".join(text.split()[:2]),
    "message": lambda text: [{"role": "user", "content": text}],
}
OF_THE_BASE = {"English descriptions": "multi30k-en", "questions": "trec-train"}
"""Texts that no adapter has learnt; what the base itself writes is asked too."""


def chosen(kind: str) -> tuple[list[str], list[str]]:
    """Texts of a kind that are learnt, and those that are asked: sides and order by hashes."""
    sides: tuple[list[tuple[bytes, str]], list[tuple[bytes, str]]] = ([], [])
    for source, text in dict.fromkeys(KINDS[kind]()):
        side = hashlib.sha256(source.encode()).digest()[-1] % 2
        sides[side].append((hashlib.sha256(text.encode()).digest(), text))
    learnt, asked = ([text for _, text in sorted(side)] for side in sides)
    return learnt[:LEARNT_FROM], asked[:ASKED]


def of_the_base() -> dict[str, list[str]]:
    """Texts that should stay with the base."""
    found = {name: [text for _, text in _documents(source)] for name, source in OF_THE_BASE.items()}
    return {name: texts[:: len(texts) // ASKED][:ASKED] for name, texts in found.items()}


@dataclass(frozen=True)
class Known:
    """What the router knows, and states of what it is asked; each text is read once for all groups."""

    base: KindOfText
    own: dict[str, KindOfText]
    asked: dict[tuple[str, str], Tensor]
    """By kind and form."""
    stays: dict[str, Tensor]
    """Of texts that belong to the base, by their kind."""

    @classmethod
    def of(cls, model: LanguageModel) -> Self:
        """By the model's states."""
        begins = openings(model.tokenizer)

        def read_by(prompts: Sequence[Any]) -> Tensor:
            return states(model, [without(begins, model.encode_prompt(one))[:BEGINNING] for one in prompts])

        base = KindOfText.of(read_by(own_texts(model, LEARNT_FROM, BEGINNING)))
        stays = of_the_base() | {"what the base writes": own_texts(model, ASKED, BEGINNING, first_seed=1000)}
        own: dict[str, KindOfText] = {}
        asked: dict[tuple[str, str], Tensor] = {}
        for kind in KINDS:
            learnt, others = chosen(kind)
            own[kind] = KindOfText.of(read_by(learnt))
            asked |= {(kind, form): read_by([write(one) for one in others]) for form, write in FORMS.items()}
            print(f"read: {kind}", file=sys.stderr, flush=True)
        return cls(base, own, asked, {name: read_by(texts) for name, texts in stays.items()})

    def group(self, kinds: Sequence[str]) -> dict[str, Any]:
        """The figures of adapters of these kinds beside one base."""
        router = Router.of([one for kind in kinds for one in (self.base, self.own[kind])])
        names = [name for kind in kinds for name in (BASE, kind)]

        def went(asked: Tensor) -> Counter[str]:
            return Counter(names[at] for at in router.distances(asked).argmin(1).tolist())

        readers = len(kinds) + 1
        return {
            "chance": 1 / readers,
            "own": {
                kind: {form: measured(went(self.asked[kind, form]), kind, f"{kind}, {form}", readers) for form in FORMS}
                for kind in kinds
            },
            "of the base": {
                name: measured(went(asked), BASE, f"{name}, whole", readers) for name, asked in self.stays.items()
            },
        }


def measured(went: Counter[str], right: str, name: str, readers: int) -> dict[str, Any]:
    """The share of texts that went where they belong."""
    share = proportion(went[right], went.total())
    figure = Measurement(
        name=name, value=share.value, interval=share.interval, n=went.total(), chance=1 / readers, ideal=1.0
    )
    return {**figure.to_json(), "went to": dict(went.most_common())}


def shown(figure: Mapping[str, Any]) -> str:
    """A share in per cent, with its interval."""
    low, high = figure["interval"]
    return f"{100 * figure['value']:.0f} ({100 * low:.0f} ... {100 * high:.0f})"


def table(groups: Mapping[str, Any]) -> str:
    """As rows of Markdown: shares in per cent."""
    rows = [f"| beside each other | text | {' | '.join(FORMS)} |", "| --- " * (2 + len(FORMS)) + "|"]
    for name, found in groups.items():
        for kind, forms in found["own"].items():
            rows.append(f"| {name} | {kind} | {' | '.join(shown(forms[form]) for form in FORMS)} |")
        for kind, figure in found["of the base"].items():
            rows.append(f"| {name} | {kind}: the base's | {shown(figure)} |{' |' * (len(FORMS) - 1)}")
    return "\n".join(rows)


def main() -> None:
    """Read, ask, print, and store where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="store_true")
    given = parser.parse_args()
    known = Known.of(load("smollm2"))
    groups = {name: known.group(kinds) for name, kinds in GROUPS.items()}
    print(table(groups))
    if given.store:
        facts = {
            "command": "python -m benchmarks.routing --store",
            "machine": this_machine().told,
            "CPU s": round(time.process_time()),
            "learnt from": LEARNT_FROM,
            "groups": groups,
        }
        STORED.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
