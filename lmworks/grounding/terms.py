"""Terms: what a text is found by: words in lower case, cut to their stem; pairs of characters where no spaces are
written, and in Korean, which writes particles onto its words.

    terms("Die Häuser wurden gebaut", "german")      # die, haus, wurd, gebaut
    terms("東京タワー", "none")                       # 東京, 京タ, タワ, ワー
    terms("도서관은", "none")                         # 도서, 서관, 관은

Stems by Snowball (snowballstemmer), for the languages it knows.
"""

from __future__ import annotations

import difflib
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from lmworks.basics.errors import ConfigError
from lmworks.basics.extras import require
from lmworks.grounding.stems import stemmer
from lmworks.text.words import JOINERS, MARKS, words_of

# Han, Hiragana and Katakana, Thai, Lao, Khmer, Burmese: written without spaces; Hangul, with particles on its words.
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff"
    r"\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff]+"
)
_PARTICLE = re.compile("(?<=[가-힣])(?:에서|에게|한테|까지|부터|으로|마다|처럼|보다|이며|이나)[은는도만의]?$")
_SHORT_PARTICLES = frozenset("은는이가을를의에로와과도만")
"""Those of one syllable, which end many a word, too (사과, apple): they stay, and what stands before them is one more
term if it is one syllable."""
_CHARACTER = re.compile(rf".[{MARKS}]*")
"""A character of them, with its vowel signs and tones."""
# What the same word is written with or without: joiners, soft hyphens, variants of a sign, a dot over i (of İ), and the
# vowels of Hebrew and Arabic with Arabic's stretching.
_OPTIONAL = re.compile(
    rf"[{JOINERS}\u00ad\u2060\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef"
    r"\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06ed]"
    r"|(?<=i)\u0307"
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
    "danish": "og det er en til på ikke den med som et fra ved for i af at efter blev sig nogle ud op hvad mellem der",
    "norwegian": "og det er en til på ikke den med som et fra ved for i av å etter ble seg noen ut opp hva mellom "
    "ikkje frå",
    "finnish": "ja on ei että se oli ovat mutta myös kun kuin joka jotka tai sekä mitä sen hän hänen ole niin sitä "
    "jos vain kaikki",
    "estonian": "ja on ei et see kui ka aga oma oli mis või nii seda selle tema nad ning kes mida olid siis pole",
    "hungarian": "a az és hogy nem egy ez meg csak volt már mint vagy azt ezt még kell lehet után amely minden sem itt "
    "is",
    "turkish": "ve bir bu için ile olarak çok daha gibi olan değil kadar sonra ama her veya olduğu ancak göre da de en "
    "ne ise tarafından tüm ki hiç sadece şu yok ya mi",
    "polish": "w z i o a się na nie jest że są jak od po dla przez oraz które który która ale być tym jego ich też "
    "przy lub tylko jako został",
    "czech": "a v i o z s k u se na je že jsou jako ale které který která není nebo při aby byl bylo "
    "byla podle mezi však "
    "také od po pro do si jeho už jsme až",
    "romanian": "a o și şi în de la cu nu este din care sunt pentru mai dar sau după prin pe să fi ale cel într unei",
    "catalan": "el la que una de del en els les amb per és dels als aquest aquesta però són més això seva hi i "
    "ha no un al si pot ho",
    "serbian": "je da se na su za od koji koja koje što nije ili ali samo već bio mogu može posle i u "
    "је да се су од који која које што није али само већ био и у на за",
    "lithuanian": "ir yra kad į iš su ne bet kaip tai nuo buvo apie tik ar dėl prie per už jo jos kurie taip",
    "basque": "eta da ez bat dira dute izan baina ere den zen hau dago egin duen beste edo dela baino ditu",
    "irish": "agus an na ar ag tá bhí go sé sí ach nach seo sin níl leis ón mar atá is",
    "esperanto": "la kaj de estas estis en ne por al kun mi kiu sed ankaŭ oni ĉi tio pri el ĝi ili",
    "indonesian": "yang dan di ini itu dengan untuk dari dalam tidak pada adalah akan atau oleh juga ke karena ada "
    "bisa mereka",
    "greek": "και το να του η της με που την από για είναι των στο οι στην τα δεν θα ότι σε τον ένα στη",
    "armenian": "է և եւ ու որ են չէ համար այս մի ից կան նաև բայց հետ իր էր մեջ",
    "arabic": "في من على إلى أن هذا هذه التي الذي كان كانت لا ما مع عن هو هي كل أو قد لم بين بعد ذلك",
    "persian": "و در به از که این را با است آن برای هم نیست می شود شد بود یک تا خود کرد هر یا",
    "hindi": "है और के का की में से को पर यह था हैं नहीं एक कि ने भी जो लिए कर तो हो थे इस",
    "nepali": "छ र छन् यो पनि हो भने गरेको हुन्छ थियो एक तथा लागि छैन गर्न भएको सो त्यो हुने गर्ने को मा ले तर छु छौँ",
    "tamil": "ஒரு இந்த அந்த மற்றும் என்று இது உள்ளது என அது ஆகும் இல்லை தான் அவர் மேலும் போது",
    "yiddish": "די און איז פֿון אין נישט ניט דער דאָס צו מיט אַז האָט אויך זײַן זיך ער זי אויף אַ",
}
"""The commonest words of a language, by which its texts are recognised. Neighbours (Danish, Norwegian; Catalan,
Spanish) share words in both lists, and have others that tell them apart. No Sesotho: it shares them with Setswana."""
UNSTEMMED = {
    "slovak": "a v i o z s k u sa na je že sú ako ale ktoré ktorý ktorá nie alebo pri aby bol bolo bola "
    "podľa medzi však "
    "tiež od po pre do si jeho už sme až",
    "slovenian": "je da se na za so in ki ni pri kot tudi ter pa ali od po bi še lahko bil bila biti med v z i o s",
    "latvian": "un ir no par ar uz kas ka nav bet arī vai tas tiek pēc pie kā bija lai šo",
    "icelandic": "og er í á að ekki sem við um til fyrir það hann var en með af frá eru hefur",
    "ukrainian": "і та не що як це до за від для з у в на або але є які був також по й",
    "bulgarian": "на да се за от не са който която това като по при и ще е в с или",
    "macedonian": "и на во се да за од со што не го ја ќе кои како е ги",
    "marathi": "आहे आणि व च हे ते या नाही आहेत होते होता की ही हा तर असे एक मध्ये साठी",
    "urdu": "ہے اور کے کا کی میں سے کو پر یہ تھا ہیں نہیں ایک کہ نے بھی جو لیے",
    "gaelic": "agus an na air aig tha bha gu ach nach seo sin chan leis bho anns mar is",
    "azerbaijani": "və bir bu üçün ilə olaraq çox daha kimi olan deyil qədər sonra amma hər da də",
}
"""The same of languages that nobody here has stems for, and that a neighbour would be taken for."""
OWN_WORDS, OWN_SHARE = 3, 0.03
"""A text is in another language if it has this many different common words of that language, at this share of its
words, none of them common in a language whose questions are understood (`ASKING`). One word is not enough, because many
short texts hold one (German nie is also Polish)."""
KNOWN_WORDS = 2
"""The same number for a question to documents in this language."""
IN_ITS_LETTERS = 0.7
"""Where a text has few common words, the share of words in one script that decides for the script's language."""
_LETTERS = {
    "greek": re.compile(r"[\u0370-\u03ff\u1f00-\u1fff]+"),
    "armenian": re.compile(r"[\u0531-\u058f]+"),
    "tamil": re.compile(r"[\u0b80-\u0bff]+"),
    "arabic": re.compile(r"[\u0621-\u063a\u0640-\u0652]+"),
}
_NOT_ARABIC = re.compile("[ٹپچڈڑژکگںہھیے]")
"""Letters of Persian and Urdu, in about every sentence."""

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

COMPOUNDING = ("german", "dutch", "swedish", "danish", "norwegian")
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
    words = _counted(text)
    common, least_own = words.keys() & _all_known(), OWN_WORDS if known is None else KNOWN_WORDS
    counts = {
        name: sum(words[word] for word in these & common)
        for name, these in (known or _frequent()).items()
        if name in ASKING or _has_own(words, _own_words()[name] & common, least_own)
    }
    best = max(counts, key=lambda name: (counts[name], name not in ASKING))  # its own words make up for a tie
    if words and counts[best] >= least * words.total():
        return best if best in FREQUENT else "none"
    return _by_script(words)


def _counted(text: str) -> Counter[str]:
    """How often a text has each word, in lower case."""
    if text.isascii():
        return Counter(words_of(text.lower()))
    words: Counter[str] = Counter()
    for word, count in Counter(words_of(unicodedata.normalize("NFC", text))).items():
        words[word.casefold()] += count
    return words


def _has_own(words: Counter[str], own: frozenset[str], least: int) -> bool:
    """Whether a text has enough words, those of it that are a language's `own`, that tell it from those in which
    questions are known."""
    return len(own) >= least and sum(words[one] for one in own) >= OWN_SHARE * words.total()


def _by_script(words: Counter[str]) -> str:
    """The language that nearly all words are written in the letters of; else "none"."""
    foreign = any(map(_NOT_ARABIC.search, words))
    for name, letters in _LETTERS.items():
        if name == "arabic" and foreign:
            continue
        if sum(count for word, count in words.items() if letters.fullmatch(word)) > IN_ITS_LETTERS * words.total():
            return name
    return "none"


def languages_of(texts: Sequence[str]) -> list[str]:
    """The language of each text of one file: its own if it can be told, else that of the whole file, else `USUAL` for
    a few Latin words; "none" for all else."""
    own = [language_of(text[:SAMPLE]) for text in texts]
    if "none" not in own:
        return own
    whole = "\n".join(text[: SAMPLE // len(texts) + 1] for text in texts)[:SAMPLE]
    other = language_of(whole)
    if other == "none" and whole.isascii() and len(words_of(whole)) < FEW:
        other = USUAL
    return [other if one == "none" else one for one in own]


def asks_in_english(question: str) -> bool:
    """Whether a question has a word that asks in English and in no other language that questions are told in."""
    return bool(_ASKS_IN_ENGLISH.search(question))


def language_of_question(question: str, languages: Mapping[str, int]) -> str:
    """The language of a question to chunks of these languages, most first: its own where it can be told and there are
    chunks in it, else that of most."""
    usual = next(iter(languages), "none")
    # Languages of no chunk only where questions were told by them before: others would outvote their neighbours.
    known = {name: words for name, words in _frequent_or_asking().items() if name in ASKING or name in languages}
    own = language_of(question, known=known)
    if _UNSPACED.search(question):
        own = "none"
    elif asks_in_english(question):
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
    lists = {name: unicodedata.normalize("NFC", words) for name, words in (FREQUENT | UNSTEMMED).items()}
    return {name: frozenset(words.split()) for name, words in lists.items()}


@cache
def _own_words() -> dict[str, frozenset[str]]:
    """Of each language in which no questions are known, the words that are in none of those in which they are; no
    single Latin letter, as in code."""
    others = frozenset().union(*(words for name, words in _frequent_or_asking().items() if name in ASKING))
    return {
        name: frozenset(one for one in words - others if len(one) > 1 or not one.isascii())
        for name, words in _frequent().items()
        if name not in ASKING
    }


@cache
def _frequent_or_asking() -> dict[str, frozenset[str]]:
    return {name: words | frozenset(ASKING.get(name, "").split()) for name, words in _frequent().items()}


@cache
def _all_known() -> frozenset[str]:
    """Every word that a language is told by, in texts or in questions."""
    return frozenset().union(*_frequent_or_asking().values())


def terms(text: str, language: str = "none") -> list[str]:
    """The terms of a text, in order, each as often as it occurs."""
    if text.isascii():
        return list(map(_stems(language).__getitem__, words_of(text.casefold())))
    found: list[str] = []
    # Once more after the change of case, which may take a letter and its accent apart.
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = _OPTIONAL.sub("", text)
    words = words_of(text)
    if not _UNSPACED.search(text):
        return list(map(_stems(language).__getitem__, words))
    for word in words:
        start = 0
        for run in _UNSPACED.finditer(word):
            _spaced(word[start : run.start()], language, found)
            piece = _CHARACTER.findall(_PARTICLE.sub("", run.group()))
            found += map("".join, itertools.pairwise(piece)) if len(piece) > 1 else piece
            if len(piece) == 2 and piece[1] in _SHORT_PARTICLES:
                found.append(piece[0])
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
        self._stemmed = stemmer(language).stemWord if language != "none" else str

    def __missing__(self, word: str) -> str:
        if len(self) >= MOST_KNOWN:
            self.clear()
        cut = word[:LONGEST]
        self[word] = stem = str(self._stemmed(cut)) or cut
        return stem


_stems = cache(_Stems)
