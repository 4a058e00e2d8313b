"""What form of answer an English question asks for: a sentence, a yes or a no, or a few words.

    wants_a_sentence("Why is the gate closed?", "english")     # True
    asks_yes_or_no("May I bring a dog?", "english")            # True: and it wants a sentence, too, which decides

Of other languages nothing is told.
"""

from __future__ import annotations

import re

from lmworks.grounding.reading import in_english

# What a span of a few words does not answer: why, how to, what happens, what something is, what it does; not what it
# costs.
_ASKS_FOR_A_SENTENCE = re.compile(
    r"(?:(?:and|so|but|please)\b,?\s*)*"
    r"(?:(?:why|explain|describe|tell me|what\s+if)\b|"
    r"how(?!\s+(?:many|much|long|old|far|often|tall|big|large|high|deep|fast|wide|heavy|early|late|soon|few)\b)\b|"
    r"what\s+(?:happens|should|can|must|is\s+the\s+(?:difference|purpose|point|reason))\b|"
    r"what\s+(?:does|do|did)\b(?!.*\b(?:cost|pay|weigh|earn|charge)s?\b)|"
    r"what(?:\s+is|\s+are|'s)(?:\s+(?!the\b)[\w-]+){1,3}\s*\??\s*$)",
    re.IGNORECASE,
)
_ASKS_YES_OR_NO = re.compile(
    r"(?:(?:and|so|but|please)\b,?\s*)*(?:am|is|are|was|were|do|does|did|have|has|had|can|could|may|might|must|shall|"
    r"should|will|would|need)(?:n['’]t)?\b",
    re.IGNORECASE,
)
_ASKS = re.compile(r"\b(?:who|whose|whom|what|which|when|where|how|why)\b", re.IGNORECASE)


def wants_a_sentence(question: str, language: str) -> bool:
    """Whether a question wants a sentence (how, why, what happens), not a name, a number or a few words; in other
    languages than English, not told."""
    asks_for_one = bool(_ASKS_FOR_A_SENTENCE.match(question.strip())) or not _ASKS.search(question)
    return asks_for_one and in_english(question, language)


def asks_yes_or_no(question: str, language: str) -> bool:
    """Whether a yes or a no would answer a question; in other languages than English, not told."""
    begins_so = bool(_ASKS_YES_OR_NO.match(question.strip())) and not _ASKS.search(question)
    return begins_so and in_english(question, language)
