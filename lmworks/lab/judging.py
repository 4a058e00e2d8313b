"""From a table to a finding: the same for a run that ends, and for a stored one whose intervals are computed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmworks.evaluation.measurement import Measurement
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import Experiment
from lmworks.lab.finding import LETTERS, Finding, RequirementResult, sentence
from lmworks.lab.intervals import estimate
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Looks, Requirement, judge
from lmworks.lab.table import FIXED, Table


def finding_of(
    experiment: Experiment,
    table: Table,
    looks: Looks,
    seeds: Sequence[int],
    heads: Sequence[Mapping[str, Any]],
    recipe: Mapping[str, Any],
    seconds: float,
    stopped: str = "",
) -> Finding:
    """Judge every part of a table. `heads` says when, where and by which code each part of the run was measured."""
    parts = judge(experiment.parts, experiment.requires, table, looks, seeds)
    also = judge(experiment.also, experiment.requires, table, looks, seeds)
    metrics = experiment.metrics()
    letters = "".join(LETTERS[one.verdict] for one in parts)
    first = heads[0]
    machines = list({repr(sorted(head["machine"].items())): head["machine"] for head in heads}.values())
    return Finding(
        question=experiment.question,
        claim=experiment.claim,
        headline=experiment.headlines.get(letters) or sentence(parts),
        parts=tuple(parts),
        also=tuple(also),
        requirements=tuple(_checked(one, table, seeds) for one in _all_required(experiment)),
        measurements=tuple(_measured(table, metrics, seeds)),
        by_seed=_by_seed(table, metrics, seeds),
        chart=experiment.picture.draw(table, seeds) if experiment.picture else None,
        not_true_when=experiment.not_true_when,
        not_tested=experiment.not_tested,
        note=experiment.note,
        recipe=dict(recipe),
        scale=first["scale"],
        seeds=tuple(seeds),
        rules=experiment.rules(looks),
        declared=first["declared"],
        commit=first["commit"],
        stopped=stopped,
        machines=tuple(machines),
        started=first["started"],
        seconds=round(seconds, 1),
    )


def _all_required(experiment: Experiment) -> list[Requirement]:
    needs = [check for part in (*experiment.parts, *experiment.also) for check in part.needs]
    return list(dict.fromkeys((*experiment.requires, *needs)))


def _checked(check: Requirement, table: Table, seeds: Sequence[int]) -> RequirementResult:
    value = estimate(table, check.metric, check.contrast, seeds).value
    return RequirementResult(says=check.says, rule=check.rule, value=value, passed=bool(check.side(value, value)))


def _measured(table: Table, metrics: Mapping[str, Metric], seeds: Sequence[int]) -> list[Measurement]:
    found = []
    for name, condition in table.pairs():
        metric, one = metrics.get(name, Metric(name)), Condition(condition)
        found.append(estimate(table, metric, one, seeds).measurement(f"{name}, {condition}", metric, one))
    return found


def _by_seed(
    table: Table, metrics: Mapping[str, Metric], seeds: Sequence[int]
) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    for (name, condition, seed), entry in table.entries.items():
        if seed is not FIXED and seed not in seeds:
            continue
        value = float(metrics.get(name, Metric(name)).of(entry.counts.sum(0)))
        found.setdefault(name, {}).setdefault(condition, {})["all" if seed is FIXED else str(seed)] = value
    return found
