"""A text in sentences, by rule, in any language.

    sentences("It rained. We (all) left early, e.g. by six.\\n\\nThen")     # 3 of them
    sentences("東京は晴れ。大阪は雨。")                                        # 2

They end with a paragraph, before an item of a list and a row of a table, after `.`, `!` or `?` if the next word begins
one (with no small letter), and after the full stops of scripts that write no spaces or no such marks. Initials
(J. Smith), usual abbreviations of nine languages (z. B., p. ex., т. е.) and the numbers of days (am 3. Mai) and
centuries end none. Thai marks no sentences: only paragraphs are found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_PARAGRAPH = re.compile(r"\n\s*\n")
_CLOSING, _OPENING = "\"'”’»›)\\]」』）》】*`", "\"'“‘„«‹¿¡(\\[「『（《【*`"
_ITEM = r"[ \t]*(?:\||(?:[-*•‣▪–]|\d{1,3}[.)])[ \t]+\S)"
_STOPS = "。！？｡।॥؟۔።။។։"
"""Full stops that end a sentence whatever comes next."""
# The first character is looked for alone, which `re` does several times as fast as trying each kind at every place.
_END = re.compile(
    rf"[.!?…{_STOPS}\n](?:"
    rf"(?<=[.!?…])(?<![.!?…][.!?…])(?P<rest>[.!?…]*+)(?:[ \u00a0\u202f]»)?[{_CLOSING}]*+\s++"
    rf"(?=(?:«[ \u00a0\u202f]|[{_OPENING}])*(?P<next>[^\W_]))"
    rf"|(?<=[{_STOPS}])[{_STOPS}]*[{_CLOSING}]*"
    rf"|(?<=\n)(?={_ITEM})"
    rf")"
)

_ALWAYS = """
    mr mrs ms dr prof st sen rep gov gen col lt sgt capt hon rev vs etc cf viz inc co ltd corp jr sr al dept est
    bzw usw hr fr frl evtl ggf inkl exkl zzgl abzgl vgl sog bspw geb gest dipl ing mag str tel bes einschl gem
    mme mlle mm me env av ex éd ej sra srta dra ud uds vd vds uu ee sig dott ecc pag dhr mevr mw bijv enz drs
    kl dvs osv
    т е г гг т д п ул им руб тыс млн млрд см др пр проф акад ок обл
"""
_BEFORE_A_NUMBER = """
    no nr nos fig figs vol vols p pp art arts abs kap ch sec eq abb tab pos ziff pt ca approx max min bd s seite
    núm num pág págs pag pagg cap blz hfst sid стр рис гл ст п табл № v ver jan feb mar apr jun jul aug sep sept oct
    okt nov dec dez
"""
_MONTHS = """
    januar februar märz april mai juni juli august september oktober november dezember
    jänner feber jan feb mär apr jun jul aug sep sept okt nov dez
    jahrhundert jahrhunderts
"""
"""What a day's number, or a century's, stands before, in German."""
_NO_END, _NO_END_BEFORE_A_NUMBER = frozenset(_ALWAYS.split()), frozenset(_BEFORE_A_NUMBER.split())
_MONTH = re.compile(rf"(?:{'|'.join(_MONTHS.split())})\b", re.IGNORECASE)
_LAST_WORD = re.compile(r"[^\s(\[{\"'“‘„«‹/–—]+$")
_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]{1,3}")
LONGEST = 24
"""Characters before a full stop that are looked at."""


def sentences(text: str) -> list[str]:
    """The sentences of a text in their order, stripped; none is empty."""
    return [text[start:end] for start, end in sentence_spans(text)]


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Where each sentence begins and ends in the text, white space around it left out."""
    found: list[tuple[int, int]] = []
    for begin, paragraph in _paragraphs(text):
        start = 0
        for match in _END.finditer(paragraph):
            if _ends(paragraph, start, match):
                found.append((begin + start, begin + match.end()))
                start = match.end()
        found.append((begin + start, begin + len(paragraph)))
    stripped = [_stripped(text, start, end) for start, end in found]
    return [(start, end) for start, end in stripped if start < end]


def _ends(paragraph: str, start: int, match: re.Match[str]) -> bool:
    """Whether a sentence that begins at `start` ends at this mark."""
    if match["next"] is None:
        return True
    if match["next"].islower():
        return False
    if paragraph[match.start()] != "." or match["rest"]:
        return True
    before = paragraph[max(start, match.start() - LONGEST) : match.start()]
    found = _LAST_WORD.search(before)
    word = found.group().casefold() if found else ""
    if word.isdigit():
        numbers_an_item = not before[: -len(word)].strip() and len(before) < LONGEST
        return not numbers_an_item and not (len(word) <= 2 and _MONTH.match(paragraph, match.end()))
    is_initial = len(word) == 1 and word != word.upper()  # of scripts that have capitals
    is_dotted = _DOTTED.fullmatch(word) is not None and word not in ("a.m", "p.m")
    is_before_a_number = word in _NO_END_BEFORE_A_NUMBER and match["next"].isdigit()
    return not (is_initial or is_dotted or is_before_a_number or word in _NO_END)


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Each paragraph with the place where it begins."""
    start = 0
    for match in _PARAGRAPH.finditer(text):
        yield start, text[start : match.start()]
        start = match.end()
    yield start, text[start:]


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
