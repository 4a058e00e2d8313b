"""The direction in which a question asks for a relation that was found in text: what caused the cut, or what the fire
caused.

A fact goes from the first part of its relation to the second (fire, effect, power cut). The form of the verb or noun,
and the words before it, decide which of the two a question names; where they decide nothing, no step is made.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal

from lmworks.grounding.graph.question import GraphQuestion, Mention

Form = Literal["of", "cause", "first", "second", "link"]
"""What a word says: a noun for the second part (the effect of the fire), or for the first and a verb of it (cause); a
verb whose subject, as long as nothing is done `by` it, is the first or the second part; or words that the first part
stands before and the second after (is part of)."""
RELATIONS: dict[str, tuple[str, dict[str, Form]]] = {
    "Cause-Effect": (
        "effect",
        {"cause": "cause", "causes": "cause", "lead to": "link", "led to": "link", "result in": "link"},
    ),
    "Component-Whole": ("whole", {"part of": "link", "component of": "link", "belong to": "link"}),
    "Content-Container": ("container", {"inside": "link", "contain": "second", "contained in": "link"}),
    "Entity-Destination": ("destination", {"go to": "link", "moved to": "link", "put into": "link"}),
    "Entity-Origin": ("origin", {"come from": "link", "derived from": "link"}),
    "Instrument-Agency": ("user", {"used by": "link"}),
    "Member-Collection": ("collection", {"member of": "link", "work for": "link"}),
    "Message-Topic": ("topic", {"about": "link", "describe": "first"}),
    "Product-Producer": (
        "producer",
        {
            "maker": "of",
            "made": "second",
            "make": "second",
            "made by": "link",
            "produce": "second",
            "built": "second",
            "written": "second",
            "wrote": "second",
            "invented": "second",
        },
    ),
}
"""What the second part of each relation is to the first, and what else people say of the two."""
BEING = frozenset(("is", "are", "was", "were", "be", "been", "being"))
DOING = frozenset(("do", "does", "did"))
BARE = frozenset(("a", "an", "the")) | BEING
"""What may stand between a noun and the name of what it is: has the producer Curie."""
ALONE = frozenset(("about", "inside"))
"""Words that link two things only after a form of be: what is about love, and not tell me about love."""


def relation_of(prop: str) -> str:
    """The relation of a property that was found in text; empty for other properties, which questions name as nouns."""
    found = re.fullmatch(r"<urn:lmworks:[^:]*:property:([\w-]+)>", prop)
    return found[1] if found and found[1] in RELATIONS else ""


def leads_forward(question: GraphQuestion, mention: Mention, anchor: Mention, relation: str) -> bool | None:
    """Whether a mention of a relation leads from what `anchor` names, as its first part, to the second; False for the
    way back, None where the question's form does not tell, or the words are only near in meaning."""
    label, words = RELATIONS[relation]
    forms = {"of" if name.text == label else words.get(name.text) for name in mention.names}
    after = anchor.start >= mention.end
    owned = mention.start > 0 and question.words[mention.start - 1].owns
    if mention.cost:
        return None
    if forms & {"of", "cause"} and (owned or _following(question, mention) == "of"):
        belongs = after != owned  # what the noun is of; else what it is: the fire is the cause of what?
        return belongs != ("cause" in forms)
    if forms == {"of"}:
        return _of_bare_noun(question, mention, anchor)
    first = _subject_is_first(question, mention, forms, after)
    return None if first is None else (not after) == first


def _following(question: GraphQuestion, mention: Mention) -> str:
    """The word after a mention."""
    return question.plain[mention.end] if mention.end < len(question.plain) else ""


def _of_bare_noun(question: GraphQuestion, mention: Mention, anchor: Mention) -> bool | None:
    """The same for a noun that is not said to be of something."""
    if anchor.start < mention.end:
        return None
    if _following(question, mention) in DOING:  # what effect did the fire have
        return True
    return False if BARE.issuperset(question.plain[mention.end : anchor.start]) else None


def _subject_is_first(
    question: GraphQuestion, mention: Mention, forms: Collection[Form | None], after: bool
) -> bool | None:
    """Whether the subject of a verb, which stands before it or is asked for, is the first part of its relation."""
    plain = question.plain
    if "link" in forms:
        alone = after and not ALONE.isdisjoint(plain[mention.start : mention.end])
        return None if alone and plain[mention.start - 1] not in BEING else True
    by = _following(question, mention) == "by" or plain[0] == "by"
    if not by and not BEING.isdisjoint(plain):  # what was made in Paris: nobody says by whom
        return None
    return ("second" in forms) == by
