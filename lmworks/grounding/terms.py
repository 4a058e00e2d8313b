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
from collections.abc import Iterator, Mapping, Sequence
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
    "french": "le la les et de des est une dans pour que qui pas",
    "spanish": "el la los y que las una por con para es de del en",
    "italian": "il che di non per una con sono del della è nel",
    "portuguese": "o que não uma com os de do da para em é as",
    "dutch": "de het een van en dat niet met voor zijn op te",
    "swedish": "och att det som en på är av för med inte den",
    "russian": "и в не на что с по как это из к у",
}
"""The commonest words of a language, by which its texts are recognised."""

ASKING = {
    "english": "who whom whose what which when where why how is are was were be do does did can could may must should "
    "will has have i you we they he she it my your our a an at on by from not",
    "german": "wer wen wem wessen was wann wo woher wohin womit wofür wie wieso weshalb warum welche welcher welches "
    "welchen welchem wieviel viel viele lange oft bis seit ab um an am im in bei für aus nach vor ein eine einen einem "
    "einer den dem des ist sind war waren wird werden wurde wurden worden hat haben hatte kann können darf dürfen muss "
    "müssen soll sollen gibt es er sie ich man wir mein meine meinen meinem meiner unser unsere "
    "unseren unserem mich mir zurück bekomme bekommt bekommen brauche braucht brauchen mache macht machen heißt heißen",
    "french": "qui que quoi quel quelle quels quelles quand où comment pourquoi combien est sont était ont sera peut "
    "peuvent doit doivent faut il elle ils elles on je au aux de du par sur ce se mon ma mes notre nos",
    "spanish": "quién quiénes qué cuál cuáles cuándo dónde cómo cuánto cuánta cuántos cuántas porqué es está están era "
    "fue fueron hay ha han puede pueden debe deben se al en de un lo su mi mis nuestro nuestra",
    "italian": "chi cosa quale quali qual quando dove dov come perché quanto quanta quanti quante cos sono era ha "
    "hanno può possono deve devono si al alla nel nella da dal un gli lo le ci mio mia miei mie nostro nostra",
    "portuguese": "quem quê qual quais quando onde como porquê quanto quanta quantos quantas são está estão era foi "
    "foram há tem têm pode podem deve devem se ao no na um meu minha meus minhas nosso nossa",
    "dutch": "wie wat waar wanneer hoe hoeveel waarom welk welke wiens is zijn was waren wordt worden werd heeft "
    "hebben kan kunnen mag moet moeten er in aan bij om uit hij zij ik men mijn ons onze",
    "swedish": "vem vems vad var när hur varför vilken vilket vilka vart är blir blev har hade kan får ska måste finns "
    "man han hon jag om vid från min mitt mina",
    "russian": "кто кого кому чей что чего когда где куда откуда как почему зачем сколько какой какая какое какие "
    "каких ли есть был была было были будет может можно должен должна он она они от до для за по при "
    "мой моя моё мои моего моей наш наша",
}
"""The words that questions are made of, with their helping verbs: they tell a question's language, and nothing of what
it is about. Single letters are English alone: several languages share them."""
ASKING_UNSPACED = re.compile(
    "请问|請問|什么时候|什麼時候|何时|何時|为什么|為什麼|什么|什麼|哪里|哪裡|哪儿|哪些|哪个|哪個|谁|誰|怎么样|怎麼樣|怎么|怎麼|怎样|如何|"
    "多少钱|多少錢|多少|多久|几点|幾點|是否|吗|嗎|呢|いつ|どこ|だれ|なぜ|どう|どの|いくら|いくつ|何ですか|ですか|ますか|何"
)
"""The same where no spaces are written (Chinese, Japanese)."""

COMPOUNDING = ("german", "dutch", "swedish")
"""Languages that write compounds in one word."""
SHORTEST_PART, SHORTEST_REST = 4, 2
"""Letters of a compound's part, at least, and of all that it has besides."""
MOST_COMPOUNDS = 50
"""Compounds that are searched for a word that is in no text."""
SAMPLE = 20_000
"""Characters by which the language of a text is recognised."""
USUAL = "english"
"""For a few words in Latin letters of which none is common in any language: a row of a table, a name."""
FEW = 50
"""Words."""
_ASKS_IN_ENGLISH = re.compile(r"\b(?:who|whose|whom|what|which|when|where|how|why|does|did|should)\b", re.IGNORECASE)
"""What no other language above has: a name (Les Paul) or a verb (die) makes a short question none of it."""


def language_of(text: str, least: float = 0.1, known: Mapping[str, frozenset[str]] | None = None) -> str:
    """The language whose `known` words, the commonest ones unless given, make up most of a text, if they are `least` of
    its words; else "none"."""
    words: Counter[str] = Counter()
    for word, count in Counter(_WORD.findall(text)).items():
        words[word.casefold()] += count
    counts = {name: sum(words[word] for word in these) for name, these in (known or _frequent()).items()}
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
    own = language_of(question, known=_frequent_or_asking())
    if _UNSPACED.search(question):
        own = "none"
    elif _ASKS_IN_ENGLISH.search(question):
        own = "english"
    elif own == "none":
        own = usual
    return own if own in languages else usual


def query_terms(text: str, languages: Mapping[str, int]) -> list[str]:
    """The terms of a query for chunks of these languages: in each of them, a term that they share once.

    In other languages than English without the words that only ask, where others are left, as no embedder makes up for
    them; of a long word of a question in a language that writes compounds in one word, also each part that a text may
    hold."""
    found: Counter[str] = Counter()
    for language in languages:
        all_ = terms(text, language)
        found |= Counter([one for one in all_ if one not in _not_searched(language)] or all_)
    own, words = _compounding(text, languages)
    found.update({part for one in words for part in _parts(one)} - _not_searched(own) - set(found))
    return list(found.elements())


def words_of_compounds(text: str, languages: Mapping[str, int]) -> list[str]:
    """The terms of a query that may stand within longer ones of a text: Miete in Grundmiete. None in languages that
    do not write compounds in one word."""
    return [one for one in _compounding(text, languages)[1] if len(one) >= SHORTEST_PART]


def compounds_with(word: str, vocabulary: str) -> list[str]:
    """The terms that begin or end with a word, the shortest ones first, of all those of an index: `vocabulary` has a
    line feed before and after each."""
    found = set()
    for border in (f"{word}\n", f"\n{word}"):
        at = vocabulary.find(border)
        while at >= 0:
            start = vocabulary.rfind("\n", 0, at + 1) + 1
            found.add(vocabulary[start : vocabulary.index("\n", start)])
            at = vocabulary.find(border, at + 1)
    longer = (one for one in found if len(one) >= len(word) + SHORTEST_REST)
    return sorted(longer, key=lambda one: (len(one), one))[:MOST_COMPOUNDS]


def _compounding(text: str, languages: Mapping[str, int]) -> tuple[str, list[str]]:
    """The language of a query, and its terms where that writes compounds in one word."""
    own = language_of_question(text, dict(Counter(languages).most_common()))
    searched = (one for one in terms(text, own) if one not in _not_searched(own))
    return own, list(dict.fromkeys(searched)) if own in COMPOUNDING else []


@cache
def _not_searched(language: str) -> frozenset[str]:
    """The stems of words that only ask; none of English, whose embedder knows what is asked."""
    said = "" if language == "english" else f"{ASKING.get(language, '')} {FREQUENT.get(language, '')}"
    return frozenset(terms(said, language))


def _parts(word: str) -> Iterator[str]:
    """What a compound may consist of: all its beginnings and ends; what is no word is in no text."""
    for at in range(SHORTEST_PART, len(word) - SHORTEST_PART + 1):
        yield from (word[:at], word[at:])


@cache
def _frequent() -> dict[str, frozenset[str]]:
    return {name: frozenset(words.split()) for name, words in FREQUENT.items()}


@cache
def _frequent_or_asking() -> dict[str, frozenset[str]]:
    return {name: words | frozenset(ASKING[name].split()) for name, words in _frequent().items()}


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
