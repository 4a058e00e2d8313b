"""What a build says of its own result: a verdict for each text, and what makes the figures mean less than they seem.

A figure that improves on a leaking text shows memory; a run of a few steps is only a trial.
"""

from __future__ import annotations

from collections.abc import Sequence

from lmworks.basics.terminal import for_shell
from lmworks.evaluation.leaks import WORDS, Leak, SharedWords
from lmworks.evaluation.likelihood import Change
from lmworks.jobs.comparing import GENERAL, HELD_OUT

OPEN = "open: too little text for an interval"
VERDICTS: dict[str, dict[Change, str]] = {
    HELD_OUT: {"better": "learnt", "tie": "a tie: no change seen", "worse": "worse than before", "open": OPEN},
    GENERAL: {"better": "better too", "tie": "a tie: no forgetting seen", "worse": "some forgotten", "open": OPEN},
}
FEW_STEPS = 10
"""A run of fewer steps is a trial of the machinery: the warm-up alone may take as many."""
NAMED = 3
"""Leaking documents that a remark names."""


def verdict(text: str, change: Change, leaking: bool) -> str:
    """What a change means in a few words."""
    if text == HELD_OUT and leaking and change == "better":
        return "better, but the text leaks"
    return VERDICTS[text][change]


def leak_remark(shared: SharedWords, leaks: Sequence[Leak], text: str, is_corpus: bool = False) -> str:
    """Where held-out text stands in the training text and what to do; "" where next to nothing does.

    A text that `lmworks corpus` made (`is_corpus`) has lost its near copies there.
    """
    if shared.tolerated or not leaks:
        return ""
    named = ", ".join(f"{one.held_out} ({one.share:.0%}, most of it in {one.train})" for one in leaks[:NAMED])
    more = f" and {len(leaks) - NAMED:,} more" if len(leaks) > NAMED else ""
    advice = (
        "In a corpus these are mostly phrases that many documents have: judge the result by a text that was written "
        "apart from this one (lmworks evaluate MODEL TEXT)"
        if is_corpus
        else f"Remove the copies (lmworks corpus {for_shell(text)} drops those that are nearly whole), and run this "
        "again on what it makes"
    )
    return (
        f"{' and '.join(_shares(shared))} stand in the training text too: {named}{more}; "
        f"so the held-out figures show memory and not only learning. {advice}"
    )


def _shares(shared: SharedWords) -> list[str]:
    """The shares that are above none, in words."""
    told = (
        (shared.share, f"runs of {WORDS} words"),
        (shared.short_share, f"documents of fewer than {WORDS} words"),
    )
    return [f"{100 * share:.1f} % of the held-out {what}" for share, what in told if share]


def few_steps_remark(steps: int | None) -> str:
    """That a run of this many steps is only a trial; "" where it is none, or the clock ends it (None)."""
    if steps is None or steps >= FEW_STEPS:
        return ""
    told = "1 step of training is" if steps == 1 else f"{steps} steps of training are"
    return f"{told} only a trial; give more (--set training.steps=100) before you judge the result"


def training_remark(losses: Sequence[float], private: bool = False) -> str:
    """Why a run may have taught nothing, by the loss of each of its steps; "" where it did teach something. For a
    private run only the number of steps counts."""
    steps = len(losses)
    if few := few_steps_remark(steps):
        return few
    if private:
        return ""
    quarter = max(1, steps // 4)
    first, last = (sum(part) / quarter for part in (losses[:quarter], losses[-quarter:]))
    if last < first:
        return ""
    return (
        f"the training loss did not fall ({first:.3f} in the first quarter of the steps, {last:.3f} in the last one); "
        "try another training.learning_rate, or more steps"
    )
