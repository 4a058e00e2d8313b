"""Workers that share a study in PostgreSQL, each with a folder of its own as on machines of their own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import postgresql
import pytest

from jobs.sweeping.small import RECIPE, SPACE
from jobs.sweeping.workers import start_worker, together
from lmworks.basics.errors import ConfigError, LmworksError
from lmworks.jobs.sweeping.run import sweep

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgresql.server() as address:
        yield address


def test_two_workers_share_the_trials_of_one_study(database: str, here: Path):
    together(start_worker(12, "first/shared", database), start_worker(12, "second/shared", database))
    result = sweep(RECIPE, SPACE, 12, "third/shared", storage=database)  # nothing is left to train
    assert [one.number for one in result.trials] == [*range(12)]
    assert {one.state for one in result.trials} <= {"complete", "pruned"}
    logs = [{path.name for path in Path(folder, "shared/trials").glob("*.jsonl")} for folder in ("first", "second")]
    assert logs[0] | logs[1] == {f"{number:04d}.jsonl" for number in range(12)}
    assert not logs[0] & logs[1] and logs[0] and logs[1]  # none twice, and both had work
    assert {one.number for one in result.trials} == {*range(12)} and result.best_recipe.exists()


def test_the_trial_of_a_killed_worker_is_run_again_by_the_next(database: str, here: Path):
    together(start_worker(3, "first/killed", database, kill_at=12), expected=-signal.SIGKILL)
    result = sweep(RECIPE, SPACE, 3, "second/killed", storage=database)
    straight = sweep(RECIPE, SPACE, 3, "straight")
    assert [(one.settings, one.state, one.value, one.curve) for one in result.trials] == [
        (one.settings, one.state, one.value, one.curve) for one in straight.trials
    ]


def test_another_recipe_under_the_same_name_is_refused_and_a_database_that_is_away_is_one_sentence(
    database: str, here: Path
):
    sweep(RECIPE, SPACE, 1, "first/named", storage=database)
    with pytest.raises(
        ConfigError, match=r"recipe\.training\.rows is 2 and was 4 when the study in named of postgresql"
    ):
        changed = {**RECIPE, "training": {**RECIPE["training"], "rows": 2}}
        sweep(changed, SPACE, 1, "second/named", storage=database)
    with pytest.raises(LmworksError, match=r"the database .* cannot be used") as caught:
        sweep(RECIPE, SPACE, 1, "first/named", storage="postgresql://lmworks:secret@/postgres?host=/nowhere")
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
