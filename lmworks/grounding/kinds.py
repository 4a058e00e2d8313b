"""Whether a span of a few words can be what a question asks for: a number, a price, a year, a telephone number.

is_of_asked_kind("How much does the parking card cost?", "week")   # False
is_of_asked_kind("How many pages has it?", "some forty")           # True
is_of_asked_kind("Who pays it?", "week")                           # True: nothing is known of other kinds

English only. What might be meant passes, as refusing a right answer is worse than showing a wrong one beside its
citation (`python -m benchmarks.answers` counts both).
"""

from __future__ import annotations

import re

PHONE_DIGITS = 5
"""A telephone number has as many at least."""
_BEGINS = r"\A\s*(?:(?:and|so|but|for|in|at|to|of|by|from|up to|about)\s+)*"
_WANTS_A_PHONE_NUMBER = re.compile(
    rf"{_BEGINS}(?:what|which)(?:['’]s|\s+is|\s+are|\s+was)\b.*\b(?:tele)?phone\s+numbers?(?:\s+(?:of|for)\s+\w.*)?\W*\Z",
    re.IGNORECASE | re.DOTALL,
)
_WANTS_A_NUMBER = re.compile(
    rf"{_BEGINS}(?:how many\b|(?:what|which) percentage\b|(?:what|which) (?:year|decade|century)\b"
    r"|how much (?:does|do|did|will|would)\b.*\bcosts?\b|what (?:does|do|did|will|would)\b.*\bcosts?\s*\??\s*\Z)",
    re.IGNORECASE | re.DOTALL,
)
_NUMBER = re.compile(
    r"\d|\b(?:an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|forty|fifty|sixty|"
    r"seventy|eighty|ninety|hundreds?|thousands?|millions?|billions?|dozens?|half|halves|thirds?|quarters?|once|twice|"
    r"doubled?|tripled?|both|none|no|nothing|nobody|zero|free|gratis|included|waived|single|several|many|few|some|all|"
    r"most|majority|minority|little|couple|pairs?|any|each|every|unlimited|last|same|first|second|third|\w+th|"
    r"\w+t(?:y|ieth))\b",
    re.IGNORECASE,
)


def asks_for_a_kind(question: str) -> bool:
    """Whether a question asks for one of the kinds that are known here."""
    return bool(_WANTS_A_PHONE_NUMBER.search(question) or _WANTS_A_NUMBER.search(question))


def is_of_asked_kind(question: str, span: str) -> bool:
    """Whether a span may be what the question asks for; True where the question asks for no known kind."""
    if _WANTS_A_PHONE_NUMBER.search(question):
        return sum(map(str.isdigit, span)) >= PHONE_DIGITS
    return not _WANTS_A_NUMBER.search(question) or bool(_NUMBER.search(span))
