"""Whether a span of a few words can be what a question asks for: a number, a price, a time, a person, an address.

is_of_asked_kind("How much does the parking card cost?", "week")                    # False
is_of_asked_kind("How many pages has it?", "some forty")                            # True
is_of_asked_kind("How many pages has it?", "400", after=" g of paper")              # False
is_of_asked_kind("When was it cold?", "Pleistocene")                                # True: an epoch, perhaps
is_of_asked_kind("Who collects it?", "every second Friday")                         # False
is_of_asked_kind("Where is it?", "week")                    # True: nothing is known of other kinds

English only. What might be meant passes, as refusing a right answer is worse than showing a wrong one beside its
citation (`python -m benchmarks.answers` counts both).
"""

from __future__ import annotations

import re

from lmworks.grounding.figures import saying
from lmworks.grounding.measures import counts_something_else

PHONE_DIGITS = 5
"""A telephone number has as many at least."""
_BEGINS = r"\A\s*(?:(?:and|so|but|for|in|at|to|of|by|from|up to|about|since|until)\s+)*"
_ASKS = r"(?:is|are|was|were|do|does|did|will|would|can|could|shall|should|must|may|might|has|have|had)\b"
_WANTS_A_PHONE_NUMBER = re.compile(
    rf"{_BEGINS}(?:what|which)(?:['’]s|\s+is|\s+are|\s+was)\b.*\b(?:tele)?phone\s+numbers?(?:\s+(?:of|for)\s+\w.*)?\W*\Z",
    re.IGNORECASE | re.DOTALL,
)
_COSTS = r"(?:how much (?:does|do|did|will|would)\b.*\bcosts?\b|what (?:does|do|did|will|would)\b.*\bcosts?\s*\??\s*\Z)"
_WANTS_A_NUMBER = re.compile(
    rf"{_BEGINS}(?:how many\b|(?:what|which) percentage\b|(?:what|which) (?:year|decade|century)\b|{_COSTS})",
    re.IGNORECASE | re.DOTALL,
)
_WANTS_A_MAIL_ADDRESS = re.compile(
    rf"{_BEGINS}(?:what|which)(?:['’]s|\s+is|\s+are|\s+was)\b.*\be-?mail\s+address(?:es)?(?:\s+(?:of|for)\s+\w.*)?\W*\Z",
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
_WANTS_A_PRICE = re.compile(rf"{_BEGINS}(?:how much (?:is|are|was|were) an?\b|{_COSTS})", re.IGNORECASE | re.DOTALL)
_ONLY_A_DURATION = re.compile(
    r"\W*(?:(?:about|up to|at (?:least|most)|within|after|in|every|for)\s+)*(?:\d[\d.,]*|an?|one|two|three|four|five|"
    r"six|seven|eight|nine|ten|eleven|twelve|some|several|a few)\s*(?:(?:working|calendar|full)\s+)?"
    r"(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?)\W*",
    re.IGNORECASE,
)
_WANTS_A_PERSON = re.compile(rf"{_BEGINS}who\b", re.IGNORECASE)
_ONLY_A_TIME = re.compile(
    r"(?:\W|\d|\b(?:(?:mon|tues|wednes|thurs|fri|satur|sun)days?|january|february|march|july|september|october|november|"
    r"december|daily|weekly|monthly|every|each|second|third|first|last|of|the|on|at|in|and|to|"
    r"from|until|st|nd|rd|th|am|pm|hours?|days?|weeks?|months?|years?|minutes?|noon|midnight|morning|evening)\b)+",
    re.IGNORECASE,
)
"""A time and no person; April, May, June and August may be one."""
_WANTS_A_TIME = re.compile(rf"{_BEGINS}when\s+{_ASKS}", re.IGNORECASE)
_WANTS_A_LENGTH = re.compile(rf"{_BEGINS}how long\s+(?:(?:ago|before|after|in advance)\s+)?{_ASKS}", re.IGNORECASE)
_NAME = re.compile(r"\b[^\W\d_a-z]")
"""What may be an epoch, a feast, a reign: a capital letter."""
_MAY_BE_A_TIME = re.compile(
    r"\b(?:when(?:ever)?|if|once|as soon as|as long as|while|unless|in case|upon|on|at|by|one|now|then|first|last|next|"
    r"early|earlier|late|later|recent(?:ly)?|soon|ago|ends?|beginning|start|same|times?|terms?|holidays?|break|lunch|"
    r"breakfast|dinner|ancient|medieval|prehistor\w+|modern|ages?|era|epoch|period|war|reign|request|arrival|"
    r"departure|delivery|receipt)\b",
    re.IGNORECASE,
)
"""What a question for a time may be answered with, besides a number, a time and a name."""
_AT_A_TIME = re.compile(
    r"\b(?:on|upon|at|by|in|with|when|if|once|before|after|until|till|since|during|while|unless|following|within)\s+"
    r"(?:(?:the|an?|his|her|its|their|your|our|my|every|each|this|that|first|next|last)\s+)*\Z",
    re.IGNORECASE,
)
"""What makes a time of what stands behind it: "on" delivery."""
_MAY_BE_A_LENGTH = re.compile(
    r"\b(?:as long as|while|if|whenever|unless|one|an?|none|no|nothing|not|n?ever|forever|for good|lifetimes?|life|"
    r"lives|permanent(?:ly)?|indefinite(?:ly)?|perpetual(?:ly)?|temporar(?:y|ily)|brief(?:ly)?|short(?:er|ly)?|"
    r"long(?:er)?|time|limit\w*|"
    r"moments?|instant\w*|seconds?|terms?|periods?|lessons?|match|game|generations?|reign|war|end|k?m|cm|mm|metres?|"
    r"meters?|\w{4,5}met(?:re|er)s?|miles?|feet|foot|inch(?:es)?|yards?|pages?|words?|lines?|characters?|letters?)\b",
    re.IGNORECASE,
)
"""What a question for a duration or a distance may be answered with, besides a number and a time."""


def asks_for_a_kind(question: str) -> bool:
    """Whether a question asks for one of the kinds that are known here."""
    kinds = (
        _WANTS_A_PHONE_NUMBER,
        _WANTS_A_MAIL_ADDRESS,
        _WANTS_A_PERSON,
        _WANTS_A_PRICE,
        _WANTS_A_NUMBER,
        _WANTS_A_TIME,
        _WANTS_A_LENGTH,
    )
    return any(one.search(question) for one in kinds)


def is_of_asked_kind(question: str, span: str, before: str = "", after: str = "", above: str = "") -> bool:
    """Whether a span may be what the question asks for, `before` and `after` it the rest of its sentence, `above` it
    its title and headings; True where the question asks for no known kind."""
    may_be = True
    if _WANTS_A_PHONE_NUMBER.search(question):
        may_be = sum(map(str.isdigit, span)) >= PHONE_DIGITS
    elif _WANTS_A_MAIL_ADDRESS.search(question):
        may_be = "@" in span
    elif _WANTS_A_PERSON.search(question):
        may_be = _ONLY_A_TIME.fullmatch(span) is None
    elif _WANTS_A_TIME.search(question):
        may_be = bool(_NAME.search(span) or _MAY_BE_A_TIME.search(span) or _AT_A_TIME.search(before))
        may_be = may_be or _says_a_time(span)
    elif _WANTS_A_LENGTH.search(question):
        may_be = bool(_MAY_BE_A_LENGTH.search(span) or _AT_A_TIME.search(before)) or _says_a_time(span)
    elif _WANTS_A_PRICE.search(question) and _ONLY_A_DURATION.fullmatch(span):
        may_be = False
    elif _WANTS_A_NUMBER.search(question):
        may_be = bool(_NUMBER.search(span)) and not counts_something_else(question, span, before, after, above)
    return may_be


def _says_a_time(span: str) -> bool:
    return any(saying("english", when=when)(span) for when in (True, False))
