"""Terms: what a text is found by: words in lower case, cut to their stem; pairs of characters where no spaces are
written.

    terms("Die Häuser wurden gebaut", "german")      # die, haus, wurd, gebaut
    terms("東京タワー", "none")                       # 東京, 京タ, タワ, ワー

Stems by Snowball (snowballstemmer), for the languages it knows.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from lmworks.basics.errors import ConfigError
from lmworks.basics.extras import require

_WORD = re.compile(r"[^\W_]+")
# Han, Hiragana and Katakana, Thai, Lao, Khmer, Burmese: written without spaces.
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff"
    r"\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"
)
LONGEST = 64
"""Characters of a term; longer ones are cut."""
MOST_KNOWN = 200_000
"""Words of a language whose stems are kept."""

FREQUENT = {
    "english": "the of and to in is that for it with as was",
    "german": "der die und das ist nicht mit ein den von zu auf",
    "french": "le la les et des est une dans pour que qui pas",
    "spanish": "el la los y que las una por con para es del",
    "italian": "il che di non per una con sono del della è nel",
    "portuguese": "o que não uma com os do da para em é as",
    "dutch": "de het een van en dat niet met voor zijn op te",
    "swedish": "och att det som en på är av för med inte den",
    "russian": "и в не на что с по как это из к у",
}
"""The commonest words of a language, by which its texts are recognised."""


SAMPLE = 20_000
"""Characters by which the language of a text is recognised."""
USUAL = "english"
"""For a few words in Latin letters of which none is common in any language: a row of a table, a name."""
FEW = 50
"""Words."""
_ASKS_IN_ENGLISH = re.compile(r"\b(?:who|whose|whom|what|which|when|where|how|why|does|did|should)\b", re.IGNORECASE)
"""What no other language above has: a name (Les Paul) or a verb (die) makes a short question none of it."""


def language_of(text: str, least: float = 0.1) -> str:
    """The language whose commonest words make up most of a text, if they are `least` of its words; else "none"."""
    words: Counter[str] = Counter()
    for word, count in Counter(_WORD.findall(text)).items():
        words[word.casefold()] += count
    counts = {name: sum(words[word] for word in known) for name, known in _frequent().items()}
    best = max(counts, key=lambda name: counts[name])
    return best if words and counts[best] >= least * words.total() else "none"


def languages_of(texts: Sequence[str]) -> list[str]:
    """The language of each text of one file: its own if it can be told, else that of the whole file, else `USUAL` for
    a few Latin words; "none" for all else."""
    own = [language_of(text[:SAMPLE]) for text in texts]
    if "none" not in own:
        return own
    whole = "\n".join(text[: SAMPLE // len(texts) + 1] for text in texts)[:SAMPLE]
    other = language_of(whole)
    if other == "none" and whole.isascii() and len(_WORD.findall(whole)) < FEW:
        other = USUAL
    return [other if one == "none" else one for one in own]


def language_of_question(question: str, languages: Mapping[str, int]) -> str:
    """The language of a question to chunks of these languages, most first: its own where it can be told and there are
    chunks in it, else that of most."""
    usual = next(iter(languages), "none")
    own = language_of(question)
    if _UNSPACED.search(question):
        own = "none"
    elif _ASKS_IN_ENGLISH.search(question):
        own = "english"
    elif own == "none":
        own = usual
    return own if own in languages else usual


def query_terms(text: str, languages: Iterable[str]) -> list[str]:
    """The terms of a query for chunks of several languages: in each of them, a term that they share once."""
    found: Counter[str] = Counter()
    for language in languages:
        found |= Counter(terms(text, language))
    return list(found.elements())


@cache
def _frequent() -> dict[str, frozenset[str]]:
    return {name: frozenset(words.split()) for name, words in FREQUENT.items()}


def terms(text: str, language: str = "none") -> list[str]:
    """The terms of a text, in order, each as often as it occurs."""
    found: list[str] = []
    text = unicodedata.normalize("NFKC", text).casefold()
    words = _WORD.findall(text)
    if text.isascii() or not _UNSPACED.search(text):
        return list(map(_stems(language).__getitem__, words))
    for word in words:
        start = 0
        for run in _UNSPACED.finditer(word):
            _spaced(word[start : run.start()], language, found)
            piece = run.group()
            found += [piece[at : at + 2] for at in range(len(piece) - 1)] if len(piece) > 1 else [piece]
            start = run.end()
        _spaced(word[start:], language, found)
    return found


def _spaced(word: str, language: str, found: list[str]) -> None:
    if word:
        found.append(_stems(language)[word])


def check_language(language: str) -> None:
    """ConfigError for a language whose stems nobody here knows."""
    known = ("none", *require("snowballstemmer", "ground").algorithms())
    if language not in known:
        close = difflib.get_close_matches(language, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(f"there are no stems for the language {language!r}; {hint}it can be {', '.join(known)}")


class _Stems(dict[str, str]):
    """The stems of words in a language, looked up where a word comes again."""

    def __init__(self, language: str) -> None:
        self._stemmed = require("snowballstemmer", "ground").stemmer(language).stemWord if language != "none" else str

    def __missing__(self, word: str) -> str:
        if len(self) >= MOST_KNOWN:
            self.clear()
        cut = word[:LONGEST]
        self[word] = stem = str(self._stemmed(cut)) or cut
        return stem


_stems = cache(_Stems)
