"""One text under several tokenizers, their boundaries one below the other, and what each language costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmworks.lab.site.benches.declaration import Bench, Control, Example, StaticTable

if TYPE_CHECKING:
    from lmworks.lab.site.words import Words
    from lmworks.tokens.tokenizer import Tokenizer

TEXTS = {
    "en": "All human beings are born free and equal in dignity and rights.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "tr": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar.",
    "ru": "Все люди рождаются свободными и равными в своём достоинстве и правах.",
    "zh": "人人生而自由,在尊严和权利上一律平等。",
    "code": "for name in sorted(counts):\n    print(f'{name}: {counts[name]:>6}')",
    "rare": "The otorhinolaryngologist defenestrated 31415926 zyzzyvas.",
}
"""Article 1 of the Universal Declaration of Human Rights in six languages; a program; rare words."""


def _example() -> Example:
    """The cuts of each tokenizer in each text."""
    found = {name: {code: _cuts(one, text) for code, text in TEXTS.items()} for name, one in _tokenizers().items()}
    return {"texts": TEXTS, "sizes": {name: one.vocab_size for name, one in _tokenizers().items()}, "cuts": found}


def _tokenizers() -> dict[str, Tokenizer]:
    from lmworks.lab.site.benches.stories import stories
    from lmworks.loading import load_tokenizer
    from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer

    return {
        "bytes": train_tokenizer([], TokenizerConfig(kind="byte")),
        "stories260k": stories().tokenizer,
        "minilm": load_tokenizer("minilm"),
        "smollm2": load_tokenizer("smollm2"),
    }


def _cuts(tokenizer: Tokenizer, text: str) -> dict[str, Any]:
    """How many tokens, where they end in characters, and how many stand for what the vocabulary has not."""
    ids, spans = tokenizer.encode_spans(text)
    return {
        "tokens": len(ids),
        "ends": sorted({end for _, end in spans} - {0}),
        "unknown": sum(one == tokenizer.unknown for one in ids) if tokenizer.unknown is not None else 0,
    }


def _table(example: Example, words: Words) -> StaticTable:
    say = words.group("bench_tokenizer")
    rows = [
        (say[f"choice_{code}"], *(str(example["cuts"][name][code]["tokens"]) for name in example["cuts"]))
        for code in example["texts"]
    ]
    return StaticTable(say["cost"], (say["text"], *example["cuts"]), rows)


BENCH = Bench(
    "tokenizer",
    claims=(1, 16),
    scripts=("tokenizer.js",),
    controls=(Control("text", "choice", "en", choices=tuple(TEXTS)), Control("own", "text", "", served=True)),
    example=_example,
    table=_table,
)
