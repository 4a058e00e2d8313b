"""The languages that a translator's tokens name: NLLB's eng_Latn, M2M100's __en__, mBART-50's en_XX.

One such token says which language a source is in, where the tokenizer puts one; another opens the target.
"""

from __future__ import annotations

import re

from lmworks.basics.errors import ConfigError
from lmworks.tokens.tokenizer import Tokenizer

NAMED = re.compile(r"(?:__)?([a-z]{2,3}(?:_[A-Za-z]{2,4})?)(?:__)?")


def languages(tokenizer: Tokenizer) -> dict[str, int]:
    """The ids of the tokens that name a language, by its name without what stands around it: "de", "deu_Latn"."""
    matched = ((NAMED.fullmatch(text), number) for number, text in tokenizer.special.items())
    return {match[1]: number for match, number in matched if match is not None}


def language_token(tokenizer: Tokenizer, name: str) -> int:
    """The id of a language's token; ConfigError naming some that there are."""
    known = languages(tokenizer)
    if name not in known:
        some = f"there are {', '.join(sorted(known)[:8])}, ..." if known else "it has no tokens that name a language"
        raise ConfigError(f"the tokenizer of {tokenizer.name} has no language {name!r}; {some}")
    return known[name]


def in_language(tokenizer: Tokenizer, ids: list[int], name: str) -> list[int]:
    """A source with the token of this language in place of the one that the tokenizer put at its beginning or end;
    at its beginning where it put none."""
    wanted, known = language_token(tokenizer, name), set(languages(tokenizer).values())
    place = next((at for at in (0, len(ids) - 1) if ids and ids[at] in known), None)
    return [wanted, *ids] if place is None else [*ids[:place], wanted, *ids[place + 1 :]]
