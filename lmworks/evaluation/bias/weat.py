"""WEAT and SEAT: do names or words of one group lie nearer to pleasant words, careers or sciences than another's?

WEAT takes words, SEAT the same words in bare sentences ("This is John.").
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache, partial

from lmworks.basics.errors import DataError
from lmworks.evaluation.bias.association import Associated, association
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.statistics import holm
from lmworks.evaluation.tasks.declaration import Association, Task, TaskFigure
from lmworks.evaluation.tasks.scores import ItemScores
from lmworks.text.known.bias import WEAT as FILES
from lmworks.text.registry import content

SETS = ("targ1", "targ2", "attr1", "attr2")


@cache
def tests(kind: str) -> tuple[Association, ...]:
    """The fifteen tests of words ("weat") or sentences ("seat")."""
    names = [re.sub(r"^(sent-)?weat", "", name) for name, *_ in FILES if name.startswith("sent-") == (kind == "seat")]
    return tuple(_test(kind, name) for name in names)


def _test(kind: str, number: str) -> Association:
    sets = json.loads(content(f"{kind}-{number}"))
    words = [tuple(sets[one]["examples"]) for one in SETS]
    titles = [re.sub(r"(?<=[a-z])(?=[A-Z])", " ", sets[one]["category"]).lower() for one in SETS]
    return Association(
        f"{kind}#{number}",
        (words[0], words[1]),
        (words[2], words[3]),
        (titles[0], titles[1], titles[2], titles[3]),
        number,
    )


def effects(kind: str, items: Sequence[ItemScores]) -> list[TaskFigure]:
    """The effect of each test, and how probable one as large is by chance: alone, and adjusted for the number of tests
    (Holm)."""
    of = {one.name: one for one in tests(kind)}
    found = [_associated(of[one.item], one) for one in items]
    adjusted = holm([one.probability for one in found])
    return [
        _effect(of[one.item], effect, probability)
        for one, effect, probability in zip(items, found, adjusted, strict=True)
    ]


def _associated(test: Association, scores: ItemScores) -> Associated:
    try:
        return association(scores.scores["first"], scores.scores["second"])
    except DataError as error:
        raise DataError(f"{test.name}: {error}") from None


def _effect(test: Association, found: Associated, adjusted: float) -> TaskFigure:
    one, other, near, far = test.titles
    measured = Measurement(
        name=f"{test.group}: {one} against {other}, {near} against {far}",
        value=found.effect,
        unit="sd",
        interval=found.interval,
        n=found.n,
        seeds=(0,),
        chance=0.0,
        ideal=0.0,
    )
    how = f"of all {found.ways:,} ways" if found.exact else f"of {found.ways:,} drawn"
    return TaskFigure(measured, f"p {found.probability:.2g} {how}, Holm {adjusted:.2g}")


_NEAR = "whether vectors lie near each other says little of what a model then does (Goldfarb-Tarrant et al. 2021)"
WEAT = Task(
    "weat",
    "whether vectors of one group's words lie nearer to some attributes than another's",
    "weat-1",
    partial(tests, "weat"),
    scored=(),
    main="effect",
    ideal=0.0,
    examples=False,
    more=partial(effects, "weat"),
    share=False,
    criticised=f"{_NEAR}, and a model of whole texts has no vector of a word alone",
)
SEAT = Task(
    "seat",
    "the same with the words in bare sentences",
    "seat-1",
    partial(tests, "seat"),
    scored=(),
    main="effect",
    ideal=0.0,
    examples=False,
    more=partial(effects, "seat"),
    share=False,
    criticised=f"{_NEAR}; sentences of one word depend on each other, so that p is too small",
)
