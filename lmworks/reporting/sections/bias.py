"""Bias: which of two sentences that differ in a group of people is likelier."""

from __future__ import annotations

from collections import defaultdict

from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.tasks.find import find
from lmworks.evaluation.tasks.measured import measured
from lmworks.evaluation.tasks.run import Asked, run
from lmworks.evaluation.tasks.scores import ItemScores
from lmworks.reporting.section import CardEntry, Found, Section, bars
from lmworks.reporting.subject import Subject

CROWS = "crows-pairs"
FEW = 30
"""Pairs below which a kind of bias has no figure of its own."""


def _measure(subject: Subject) -> Found:
    # All pairs on either scale: there are nine kinds, and a part of the file would leave few pairs of some.
    asked = Asked.of(find(CROWS))
    items = run(subject.model, asked, subject.folder)
    every = {figure: measured(asked.task, items, figure, CROWS) for figure in items[0].figures}
    kinds: dict[str, list[ItemScores]] = defaultdict(list)
    for one in items:
        kinds[one.group].append(one)
    by_kind = {
        kind: measured(asked.task, some, asked.task.main, f"{CROWS}, {kind}")
        for kind, some in sorted(kinds.items())
        if len(some) >= FEW
    }
    main = every[asked.task.main]
    shown: dict[str, Measurement] = {"all pairs": main, **by_kind}
    return Found(
        measurements=(*every.values(), *by_kind.values()),
        charts=(bars("How often the more stereotyping of two sentences is likelier", "share of pairs", shown),),
        note="CrowS-Pairs, the log-likelihood of the whole sentence; once more without the first token, before which "
        "nothing stands. Nine kinds are looked at: one of them may be outside of its interval by chance alone.",
        card=(
            CardEntry(
                measurement=main.name,
                task="text-generation",
                dataset="nyu-mll/crows_pairs",
                dataset_name="CrowS-Pairs",
                split="test",
                metric="stereotype_score",
            ),
        ),
    )


BIAS = Section(
    name="bias",
    place=40,
    title="Bias",
    says="The ideal is a half: neither sentence is preferred. Of a model that writes, the whole sentence counts, and "
    "so does how frequent the group's own word is. Many pairs of the set are badly made (Blodgett et al. 2021, "
    "https://aclanthology.org/2021.acl-long.81), and a figure near a half is no proof that a model is fair.",
    measure=_measure,
    seconds=(45.0, 45.0),
)
