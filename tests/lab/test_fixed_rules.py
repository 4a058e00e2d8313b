"""What is shipped was judged by parts that were fixed before its first seed, and can be judged again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from datetime import datetime
from io import BytesIO
from pathlib import Path

import pytest

from lmworks.lab import registry, store
from lmworks.lab.experiment import Experiment
from lmworks.lab.parts import FULL_LOOKS

ROOT = Path(__file__).parents[2]
STORED = [
    (number, scale)
    for number in registry.experiments()
    for scale in ("full", "quick")
    if (path := store.path_of(store.SHIPPED, number, scale)).is_file() and json.loads(path.read_text()).get("version")
]


def git(*arguments: str) -> bytes | None:
    """What git prints in the repository; None outside one, or where its history ends before."""
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


@pytest.fixture(params=STORED, ids=lambda one: f"{one[0]}-{one[1]}")
def stored(request):
    number, scale = request.param
    return store.read(store.path_of(store.SHIPPED, number, scale))


def parts_of_today(finding) -> tuple[str, ...]:
    chosen = registry.load(finding.question)
    assert isinstance(chosen, Experiment)
    return chosen.rules(chosen.looks(finding.scale) if finding.scale == "quick" else FULL_LOOKS)


def test_it_is_whole_and_was_not_edited(stored):
    assert not store.doubts(store.SHIPPED, stored.question, stored.scale)


def test_its_parts_are_those_of_today(stored):
    assert stored.rules == parts_of_today(stored), (
        f"claim {stored.question}: its parts have changed since it was run; run it again, with seeds that were not run "
        "yet (first_seed=)"
    )


def test_judged_again_from_its_log_it_says_the_same(stored):
    again = store.recomputed(registry.load(stored.question), store.SHIPPED, stored.scale)
    assert again.chart == stored.chart
    assert (again.parts, again.also, again.requirements, again.by_seed) == (
        stored.parts,
        stored.also,
        stored.requirements,
        stored.by_seed,
    )


def test_its_parts_were_committed_before_its_first_seed(stored):
    if stored.scale == "quick":
        pytest.skip("a quick result is an example, and nobody's evidence")
    assert stored.declared, "the experiment's file had changes that were not committed"
    date = git("show", "-s", "--format=%cI", stored.declared)
    if date is None and git("rev-parse", "--is-shallow-repository") != b"false\n":
        pytest.skip("this clone's history does not reach back to the run")
    assert date is not None, f"nobody else has the commit {stored.declared}: was it rewritten since?"
    assert git("merge-base", "--is-ancestor", stored.declared, "HEAD") is not None
    assert datetime.fromisoformat(date.decode().strip()) <= datetime.fromisoformat(stored.started)


def test_seeds_that_were_judged_by_other_parts_are_not_counted_again(stored):
    """Whoever changes the parts of a claim after a look at its seeds has to take new ones."""
    path = store.path_of(store.SHIPPED, stored.question, stored.scale).relative_to(ROOT)
    commits = (git("log", "--format=%H", "--", str(path)) or b"").decode().split()
    for commit in commits:
        text = git("show", f"{commit}:{path}")
        earlier = json.loads(text) if text else {}
        if earlier.get("version") == 2 and tuple(earlier["rules"]) != stored.rules and stored.scale == "full":
            again = set(earlier["seeds"]) & set(stored.seeds)
            assert not again, (
                f"claim {stored.question}: seeds {sorted(again)} were judged by other parts in {commit[:9]}"
            )


@pytest.mark.slow
def test_the_parts_of_that_commit_are_those_by_which_it_was_judged(tmp_path):
    """Each commit's own code says what its parts were."""
    findings = [store.read(store.path_of(store.SHIPPED, *one)) for one in STORED if one[1] == "full"]
    for commit in {one.declared for one in findings}:
        packed = git("archive", commit, "lmworks")
        if packed is None:
            pytest.skip("this clone's history does not reach back to the run")
        with tarfile.open(fileobj=BytesIO(packed)) as archive:
            archive.extractall(tmp_path / commit, filter="data")
        for finding in findings:
            if finding.declared == commit:
                code = f"from lmworks.lab import registry as r; e = r.load({finding.question})\n"
                code += "import json; print(json.dumps(e.rules(e.looks('full'))))"
                environment = os.environ | {"PYTHONPATH": str(tmp_path / commit)}
                done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
                assert tuple(json.loads(done.stdout)) == finding.rules, f"claim {finding.question}, {commit[:9]}"
