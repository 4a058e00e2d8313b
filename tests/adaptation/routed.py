"""A base and two adapters of which a text chooses one: of words, and of numbers."""

from __future__ import annotations

from pathlib import Path

import tiny
from adaptation.adapted import adapter_folder
from safetensors.torch import save_file

import lmworks as lm
from lmworks.adaptation.router import FILE, KindOfText, as_file, states

WORDS = [" ".join(tiny.WORDS[(3 * number + place) % len(tiny.WORDS)] for place in range(9)) for number in range(12)]
NUMBERS = [" ".join(str(1000 + 37 * number + place) for place in range(9)) for number in range(12)]
SIGNS = ["?!%&/()=+*~#;:,.-_<>|"[number % 9 :] * 3 for number in range(12)]
"""What the base itself reads."""
SHAPE = {"dim": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden_dim": 96, "context": 512}


def routed_folder(root: Path) -> Path:
    """The folders base, words and numbers."""
    tiny.language_model(seed=4, **SHAPE).save(root / "base")
    base = lm.load(root / "base")
    kinds = [
        KindOfText.of(states(base, [base.tokenizer.encode(text) for text in one])) for one in (SIGNS, WORDS, NUMBERS)
    ]
    for number, name in enumerate(("words", "numbers"), 1):
        made = adapter_folder(
            root / name, tiny.language_model(seed=4, **SHAPE).network, str(root / "base"), seed=number
        )
        save_file({key: one.contiguous() for key, one in as_file(kinds[0], kinds[number]).items()}, made / FILE)
    return root


def asked(text: str) -> list[dict[str, str]]:
    """A conversation of one message."""
    return [{"role": "user", "content": text}]
