"""Checks of a labelled text: records whose answers are the classes of their texts, for `lmworks train classify`."""

from __future__ import annotations

from collections import Counter

from lmworks.basics.amounts import counted
from lmworks.basics.errors import DataError
from lmworks.checks.data import HasReading
from lmworks.checks.result import Difference, NotApplicableError, Outcome, check

MANY = 5
"""Texts that a label has on average, at least: of the registry's labelled sets the fewest are 83, and of its sets of
questions or sentences with their answers the most is 1.0."""
LONGEST = 80
"""Characters of a label, at most: what is longer is an answer that is always the same."""
NAMED = 2


@check("there are classes to tell apart", of="text")
def classes(text: HasReading) -> Outcome:
    """How many classes a labelled text has, and how many texts are of the rarest and of the commonest."""
    counts = Counter(label for _, label, _ in _labelled(text)).most_common()
    total = sum(count for _, count in counts)
    shares = [f"{label!r} {count / total:.1%} ({count:,})" for label, count in (counts[0], counts[-1])]
    return Outcome(
        f"{counted(total, 'text')} of {len(counts):,} {'class' if len(counts) == 1 else 'classes'}",
        [
            Difference(
                "the classes and two of them",
                2 - min(len(counts), 2),
                0,
                "missing",
                sentence=f"all {total:,} texts have one class, {counts[0][0]!r}: nothing can be told apart",
            )
        ],
        "" if len(counts) == 1 else f"commonest {shares[0]}, rarest {shares[1]}",
    )


@check("no text has two labels", of="text")
def one_label_each(text: HasReading) -> Outcome:
    """Texts of a labelled text that stand there under different labels, white space and letter case aside."""
    first: dict[str, tuple[str, str]] = {}
    pairs = []
    labelled = _labelled(text)
    for asked, label, source in labelled:
        earlier, place = first.setdefault(" ".join(asked.lower().split()), (label, source))
        if earlier != label:
            pairs.append(f"{source} says {label!r} and {place} {earlier!r}")
    where = "; ".join(pairs[:NAMED])
    told = f"{counted(len(pairs), 'text')} had another label before"
    return Outcome(
        f"{counted(len(labelled), 'text')}, white space and letter case aside",
        [Difference("the texts' labels and their first ones", len(pairs), 0, "texts", where, f"{told}: {where}")],
    )


def _labelled(text: HasReading) -> list[tuple[str, str, str]]:
    """Each text with its label and source. NotApplicableError where the answers are no labels."""
    documents = text.reading.documents
    try:
        found = [(*one.pair, one.source) for one in documents]
    except DataError:
        raise NotApplicableError("the records are no texts with a label each") from None
    labels = {label for _, label, _ in found}
    if len(found) < MANY * len(labels) or any(len(label) > LONGEST or "\n" in label for label in labels):
        raise NotApplicableError("the records' answers are no labels: too many different ones, or too long")
    return found
