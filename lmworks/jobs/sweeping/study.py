"""The study of a sweep: an Optuna study that several workers share, in a journal file or in PostgreSQL.

The worker that claims a trial holds a lock for as long as it lives, so no trial is run twice, and one that was
interrupted (Ctrl-C, kill -9, a machine that went away) is run again with the same settings by whoever comes next.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock

from lmworks.basics.errors import ConfigError, DataError, LmworksError
from lmworks.basics.extras import require
from lmworks.basics.postgresql import reason_of, without_password
from lmworks.jobs.sweeping.locks import DatabaseLocks, FileLocks, Locks
from lmworks.jobs.training_recipe import TrainRecipe

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

JOURNAL = "journal.log"
PLAN = "lmworks"
"""The study's attribute that says what is searched and how."""
DONE = 10**6
"""Optuna counts in steps: a validation is reported at this many times the share of the run that is done."""

State = Literal["complete", "pruned", "diverged", "failed", "running"]


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the study knows it."""

    number: int
    """As Optuna numbers it; numbers of interrupted trials are missing."""
    settings: dict[str, Any]
    state: State
    value: float | None
    """Bits per byte of the recipe's held-out text; None unless complete."""
    curve: tuple[tuple[float, float], ...]
    """Share of the run that was done, and bits per byte then."""
    seconds: float | None
    is_recipe: bool
    """The recipe as it stands."""
    why: str = ""
    """Why it failed or diverged."""

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class SharedStudy:
    """One worker's hold on a study."""

    def __init__(self, study: optuna.Study, storage: Any, locks: Locks, worker: str) -> None:
        self.study, self.storage, self.locks, self.worker = study, storage, locks, worker

    def agree(self, plan: Mapping[str, Any], first: Mapping[str, Any] | None, place: str) -> None:
        """Begin the study with a plan and the settings of its first trial; or see that it was begun with the same plan.

        ConfigError that names the first key that differs.
        """
        ours = json.loads(json.dumps(plan))
        with self.locks.hold("claim"):
            theirs = self.study.user_attrs.get(PLAN)
            if theirs is None:
                if self.study.get_trials(deepcopy=False):
                    raise ConfigError(f"{place} holds a study that lmworks did not begin; give another --out")
                self.study.set_user_attr(PLAN, ours)
                theirs = ours
            if (
                not self.study.get_trials(deepcopy=False) and first is not None
            ):  # also where the first worker was killed here
                self.study.enqueue_trial(dict(first), user_attrs={"recipe": True})
            if difference := _difference(_as_now(ours), _as_now(theirs)):
                raise ConfigError(
                    f"{difference} when the study in {place} was begun; use the same, or give another --out"
                )

    def claim(
        self, most: int, distributions: Mapping[str, BaseDistribution], seed: int, startup: int
    ) -> optuna.Trial | None:
        """A trial of one's own with its settings; None where the study has `most` trials.

        What is drawn follows from the seed, the number of trials so far and their results.
        """
        import optuna

        with self.locks.hold("claim"):
            trials = self.study.get_trials(deepcopy=False)
            for one in trials:
                if one.state == optuna.trial.TrialState.RUNNING:
                    self._give_up_if_left(one)
            counted = [one for one in self.study.get_trials(deepcopy=False) if _counts(one)]
            if len(counted) >= most:
                return None
            digest = hashlib.sha256(f"{seed}/{len(counted)}".encode()).digest()
            self.study.sampler = optuna.samplers.TPESampler(
                seed=int.from_bytes(digest[:4], "big"), n_startup_trials=startup
            )
            trial = self.study.ask(dict(distributions))
            trial.set_user_attr("worker", self.worker)
            return trial

    def _give_up_if_left(self, trial: optuna.trial.FrozenTrial) -> None:
        """Where its worker is gone: close the trial, and have its settings run again."""
        import optuna

        if self.locks.is_held(_lock_of(trial.user_attrs.get("worker"))):
            return
        self.storage.set_trial_user_attr(trial._trial_id, "left", True)
        self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        kept = {key: value for key, value in trial.user_attrs.items() if key == "recipe"}
        self.study.enqueue_trial(trial.params, user_attrs=kept)

    def records(self) -> list[TrialRecord]:
        """Every trial that counts, in the order of its number."""
        return [_record(trial) for trial in self.study.get_trials(deepcopy=False) if _counts(trial)]

    def complete(self, trial: optuna.Trial, value: float) -> None:
        """Close a trial with what it reached."""
        self.study.tell(trial, value)

    def prune(self, trial: optuna.Trial, diverged: str = "") -> None:
        """Close a trial that was hopeless, or that diverged for the reason given.

        Both are "pruned" to Optuna, whose sampler learns nothing from failed trials and would return to where runs
        diverge.
        """
        import optuna

        if diverged:
            trial.set_user_attr("diverged", diverged)
        self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)

    def fail(self, trial: optuna.Trial, why: str) -> None:
        """Close a trial that could not be run."""
        import optuna

        trial.set_user_attr("why", why)
        self.study.tell(trial, state=optuna.trial.TrialState.FAIL)


@contextmanager
def open_study(folder: Path, address: str | None) -> Iterator[SharedStudy]:
    """The study of a sweep's folder: in a journal file beside its results, or under the folder's name in PostgreSQL.

    LmworksError for a database that does not answer and for a damaged journal.
    """
    optuna, worker = quiet_optuna(), uuid.uuid4().hex
    try:
        with _storage(folder, address) as (storage, locks), _said(folder, address), locks.hold(_lock_of(worker)):
            with locks.hold("claim"):
                study = optuna.create_study(storage=storage, study_name=folder.resolve().name, load_if_exists=True)
            yield SharedStudy(study, storage, locks, worker)
    finally:
        (folder / "locks" / f"{_lock_of(worker)}.lock").unlink(missing_ok=True)


def quiet_optuna() -> Any:
    """Optuna, which says by itself only what went wrong; LmworksError where it is not installed."""
    optuna = require("optuna", "search")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


@contextmanager
def _storage(folder: Path, address: str | None) -> Iterator[tuple[Any, Locks]]:
    from optuna.storages import RDBStorage
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    if address is None:
        path, locks = folder / JOURNAL, FileLocks(folder / "locks")
        with _said(folder, address):
            backend = JournalFileBackend(str(path), FileLock(folder / "locks" / "journal.lock"))  # type: ignore[arg-type]
            storage = JournalStorage(backend)
        yield storage, locks
        return
    check_address(address)
    psycopg = require("psycopg", "scale")
    with _said(folder, address):
        connection = psycopg.connect(address, autocommit=True)
    with connection:
        with _said(folder, address), DatabaseLocks(connection, "").hold("tables"):
            database = RDBStorage(address.replace("postgresql://", "postgresql+psycopg://", 1))
        try:
            yield database, DatabaseLocks(connection, folder.resolve().name)
        finally:
            database.remove_session()
            database.engine.dispose()


def check_address(address: str) -> None:
    """ConfigError for a storage that is no PostgreSQL database."""
    if not address.startswith("postgresql://"):
        raise ConfigError(
            f"--storage {without_password(address)} is no address of a PostgreSQL database; write "
            "postgresql://user:password@host/database, or leave it out for a journal file"
        )


@contextmanager
def _said(folder: Path, address: str | None) -> Iterator[None]:
    """What goes wrong with the storage, as a sentence."""
    try:
        yield
    except LmworksError:
        raise
    except Exception as error:
        module = type(error).__module__.partition(".")[0]
        if address is not None and (
            module in ("psycopg", "sqlalchemy") or type(error).__name__ == "StorageInternalError"
        ):
            raise LmworksError(
                f"the database {without_password(address)} cannot be used ({reason_of(error, address)}); see to it, "
                "then run the same command again: the study goes on"
            ) from error
        if address is None and _from_journal(error):
            raise DataError(
                f"{folder / JOURNAL} is damaged ({error}); remove {folder} to start the sweep afresh"
            ) from error
        raise


def _from_journal(error: BaseException) -> bool:
    """Was it raised while Optuna read its journal?"""
    trace = error.__traceback__
    while trace is not None:
        if "journal" in Path(trace.tb_frame.f_code.co_filename).parts:
            return not isinstance(error, OSError)
        trace = trace.tb_next
    return False


def _lock_of(worker: str | None) -> str:
    return f"worker-{worker}"


def _counts(trial: optuna.trial.FrozenTrial) -> bool:
    """Has a worker begun it that is still alive?"""
    return trial.state.name != "WAITING" and not trial.user_attrs.get("left")


def _record(trial: optuna.trial.FrozenTrial) -> TrialRecord:
    attributes = trial.user_attrs
    states: dict[str, State] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    state = states.get(trial.state.name, "running")
    if "diverged" in attributes:
        state = "diverged"
    return TrialRecord(
        number=trial.number,
        settings=dict(trial.params),
        state=state,
        value=trial.value if state == "complete" else None,
        curve=tuple((step / DONE, value) for step, value in sorted(trial.intermediate_values.items())),
        seconds=None if trial.duration is None else round(trial.duration.total_seconds(), 2),
        is_recipe=bool(attributes.get("recipe")),
        why=attributes.get("diverged") or attributes.get("why") or "",
    )


def _as_now(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A plan whose recipe has the settings of today, whatever version of lmworks wrote it."""
    return {**plan, "recipe": TrainRecipe.written_before(plan.get("recipe", {}))}


def _difference(ours: Any, theirs: Any, at: str = "") -> str | None:
    """The first place where two plans part, in words."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}):
            found = _difference(ours.get(key), theirs.get(key), f"{at}.{key}" if at else key)
            if found:
                return found
        return None
    return None if ours == theirs else f"{at} is {ours!r} and was {theirs!r}"
