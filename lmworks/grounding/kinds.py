"""Whether a span of a few words can be what a question asks for: a number, a price, a year, a telephone number.

fits("How much does the parking card cost?", "week")       # False
fits("How many pages has it?", "some forty")               # True
fits("Who pays it?", "week")                               # True: of other kinds nothing is known

Only what cannot be meant is told, as a right answer that is refused is worse than a wrong one beside its citation: of
1,149 right answers that were looked at none has the wrong kind (`python -m benchmarks.answers`). In English.
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


def fits(question: str, span: str) -> bool:
    """Whether a span may be what the question asks for; True where the question names no kind that is known."""
    if _WANTS_A_PHONE_NUMBER.search(question):
        return sum(map(str.isdigit, span)) >= PHONE_DIGITS
    return not _WANTS_A_NUMBER.search(question) or bool(_NUMBER.search(span))
