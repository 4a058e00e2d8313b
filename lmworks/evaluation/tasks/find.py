"""A task by its name, or a file of questions as one."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

from lmworks.basics.declared import declared
from lmworks.basics.errors import ConfigError
from lmworks.evaluation.tasks.declaration import Task
from lmworks.evaluation.tasks.own import SUFFIXES, own_task


def tasks() -> dict[str, Task]:
    """Every public task by its name."""
    return declared("lmworks.evaluation.tasks.sets", Task) | declared("lmworks.evaluation.bias", Task)


def find(reference: str) -> Task:
    """A public task, "NAME:GROUP" for one group of its items (blimp:adjunct_island), or a file of one's own.
    ConfigError for a name that is none."""
    known = tasks()
    name, _, group = reference.partition(":")
    name = {"crows": "crows-pairs"}.get(name, name)
    if name in known and not group:
        return known[name]
    if name in known and group:
        return _group(known[name], group)
    if Path(reference).suffix.lower() in SUFFIXES or Path(reference).is_file():
        return own_task(Path(reference))
    if Path(reference).is_dir():
        inside = next((one for suffix in SUFFIXES for one in sorted(Path(reference).rglob(f"*{suffix}"))), None)
        example = "" if inside is None else f", such as {inside}"
        raise ConfigError(f"{reference} is a folder; give a file of questions or conversations{example}")
    close = difflib.get_close_matches(reference, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
    raise ConfigError(f"{reference!r} is no task and no file of questions ({', '.join(SUFFIXES)}); {hint}")


def _group(task: Task, group: str) -> Task:
    items = [one for one in task.items() if one.group == group]
    if not items:
        groups = sorted({one.group for one in task.items() if one.group})
        if not groups:
            raise ConfigError(f"the items of {task.name} are in no groups; name the task alone")
        close = difflib.get_close_matches(group, groups, n=1) or groups[:3]
        raise ConfigError(f"{task.name} has no group {group!r}; it has {', '.join(close)}, among others")
    return replace(task, name=f"{task.name}:{group}", items=lambda: items, clustered=False)
