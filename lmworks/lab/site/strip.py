"""A part's interval beside the bound that decides it, as a small SVG: dot, interval, bound, and the side that holds.

strip(part)        # empty for a part without a figure or without a bound in its rule
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lmworks.lab.site.axis import Axis
from lmworks.lab.verdict import PartResult

HEIGHT = 26
RULE = re.compile(r"([<>]) (\S+?)(?:, margin (([\d.e-]+)(%?).*))?$|between (\S+) and (\S+)$")


@dataclass(frozen=True)
class Bounds:
    """Where a figure has to lie, and the margin around no difference."""

    low: float | None
    high: float | None
    same: tuple[float, float] | None = None
    margin: str = ""
    """The margin as the rule says it, with its unit."""

    @classmethod
    def of(cls, rule: str) -> Bounds | None:
        """The bounds that end a rule: "BLEU, 4 beams minus greedy > 0, margin 0.5"; None where it names none."""
        found = RULE.search(rule)
        if found is None:
            return None
        try:
            if found[1] is None:
                return cls(float(found[6]), float(found[7]))
            bound = float(found[2])
            size = float(found[4]) if found[4] else 0.0
        except ValueError:
            return None
        same = None
        if size:
            same = (1 / (1 + size / 100), 1 + size / 100) if found[5] else (-size, size)
        margin = found[3] or ""
        return cls(bound, None, same, margin) if found[1] == ">" else cls(None, bound, same, margin)

    @property
    def said(self) -> str:
        """ "> 0", "< 0.5", "0.9 … 1.1", with spaces that no line breaks at."""
        if self.low is None or self.high is None:
            return f">\u00a0{self.low:g}" if self.low is not None else f"<\u00a0{self.high:g}"
        return f"{self.low:g}\u00a0…\u00a0{self.high:g}"

    @property
    def ends(self) -> list[float]:
        """All numbers of it."""
        return [one for one in (self.low, self.high, *(self.same or ())) if one is not None]


def strip(part: PartResult) -> str:
    """The picture; the same is said in words beside it, so it is not read out."""
    bounds = Bounds.of(part.rule)
    figure = part.figure
    if bounds is None or figure is None:
        return ""
    low, high = figure.interval or (figure.value, figure.value)
    axis = Axis.over([low, high, *bounds.ends], room=0.12)
    start = 0.0 if bounds.low is None else axis.share(bounds.low)
    end = 1.0 if bounds.high is None else axis.share(bounds.high)
    middle = HEIGHT / 2
    drawn = [f'<rect class="side" x="{start:.2%}" width="{end - start:.2%}" height="{HEIGHT}"/>']
    if bounds.same is not None:
        left, right = (axis.share(one) for one in bounds.same)
        drawn.append(f'<rect class="margin" x="{left:.2%}" width="{right - left:.2%}" height="{HEIGHT}"/>')
    for bound in (bounds.low, bounds.high):
        if bound is not None:
            x = f"{axis.share(bound):.2%}"
            drawn.append(f'<line class="bound" x1="{x}" x2="{x}" y2="{HEIGHT}"/>')
    drawn.append(
        f'<line class="interval" x1="{axis.share(low):.2%}" x2="{axis.share(high):.2%}" y1="{middle}" y2="{middle}"/>'
    )
    drawn.append(f'<circle cx="{axis.share(figure.value):.2%}" cy="{middle}" r="4"/>')
    return f'<svg class="strip" width="100%" height="{HEIGHT}" aria-hidden="true">{"".join(drawn)}</svg>'
