"""The verdict of a part, and the part as it was judged. Nothing here needs numpy: listing claims is quick."""

from __future__ import annotations

from typing import Literal

from lmworks.basics.config import Config
from lmworks.evaluation.measurement import Measurement

Verdict = Literal["holds", "fails", "no difference above the margin", "open", "not tested"]
HOLDS: Verdict = "holds"
FAILS: Verdict = "fails"
SAME: Verdict = "no difference above the margin"
OPEN: Verdict = "open"
UNTESTED: Verdict = "not tested"
DECIDED = (HOLDS, FAILS, SAME)


class PartResult(Config):
    """A part as it was judged."""

    says: str
    """What the claim says, in plain words."""

    verdict: Verdict
    """What was found of it."""

    rule: str
    """The figure, the comparison and the margin."""

    figure: Measurement | None = None
    """The figure that decided, over the seeds that had been run then; None where there was none."""

    design: str = ""
    """Of what kind the interval is: crossed, nested, items, exact."""

    why: str = ""
    """Why it is open or was not tested; of one that asked which of two is better and fails, that the other is."""

    otherwise: str = ""
    """What is true instead, where it does not hold."""
