"""Findings on disk: one JSON file per question and scale, and the log that it was judged from, compressed beside it.

The findings that lmworks ships are in `lab/results`; a user's own are in a folder of theirs. Both files carry hashes:
what was cut off or edited by hand is said wherever the finding is shown.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.files import sha256, write_json
from lmworks.lab import older, registry
from lmworks.lab.finding import VERSION, Finding
from lmworks.lab.scale import Scale

if TYPE_CHECKING:  # listing results needs neither numpy nor torch
    from lmworks.lab.experiment import Experiment
    from lmworks.lab.parts import Looks

SHIPPED = Path(__file__).parent / "results"
LARGEST = 16 * 2**20
"""Bytes of a result file; a larger file is not one of ours."""
FIRST = ("question", "claim", "headline", "parts", "also", "requirements", "not_true_when", "not_tested", "note")
"""What a reader of the file wants first."""


def path_of(folder: Path, question: int, scale: str) -> Path:
    """The file of a finding in a folder of results."""
    return folder / f"q{question:02d}.{scale}.json"


def items_of(folder: Path, question: int, scale: str) -> Path:
    """The compressed log beside it."""
    return folder / f"q{question:02d}.{scale}.items.jsonl.gz"


def write(finding: Finding, folder: Path, log: Path | None = None) -> tuple[Finding, Path]:
    """Write a finding into a folder of results, and its log, compressed, beside it; the log itself is removed then.

    Returns the finding, which knows the log's hash now, and its file.
    """
    from lmworks.lab.table import pack, read_lines

    items = items_of(folder, finding.question, finding.scale)
    if log is not None:
        pack((line for line, _ in read_lines(log)), items)
        finding = finding.but(items=sha256(items))
    path = path_of(folder, finding.question, finding.scale)
    write_json(path, as_json(finding))
    if log is not None:
        log.unlink()
    return finding, path


def keep(finding: Finding, out: Path, log: Path | None = None, *, ship: bool = False) -> tuple[Finding, list[Path]]:
    """Write a finding and a picture of its chart into `out`; with `ship`, the finding among those that lmworks ships.

    Returns the finding and its files. ConfigError for a finding at full scale whose parts were not fixed before it ran.
    """
    if ship and finding.scale == "full" and finding.declared is None:
        raise ConfigError(
            f"claim {finding.question}: its file had changes that were not committed when it ran, so nobody can tell "
            "that its parts were fixed before; commit it, and run it again with seeds that were not run yet"
        )
    finding, path = write(finding, SHIPPED if ship else out, log)
    files = [path]
    if finding.chart is not None:
        picture = path_of(out, finding.question, finding.scale).with_suffix(".png")
        finding.chart.save(picture)
        files.append(picture)
    return finding, files


def as_json(finding: Finding) -> dict[str, Any]:
    """Plain numbers, texts and lists, what a reader wants first at the top, and the hash of all of it."""
    fields = finding.model_dump(mode="json")
    ordered = {name: fields[name] for name in FIRST} | fields
    return ordered | {"sha256": _hash(fields)}


def _hash(fields: dict[str, Any]) -> str:
    rest = {name: value for name, value in fields.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def read(path: Path) -> Finding:
    """A finding from its file; DataError for one that is cut off, of a later version, or not a finding."""
    fields = _fields(path)
    try:
        if fields.get("version", 1) == 1:
            return older.converted(fields)
        return Finding(**{name: value for name, value in fields.items() if name != "sha256"})
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(f"{path} is not a stored finding ({error}); remove it, and run the claim again") from error


def _fields(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"{path} is larger than any result ({LARGEST:,} bytes); remove it, and run the claim again")
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a stored finding ({error}); remove it, and run the claim again") from error
    if not isinstance(fields, dict):
        raise DataError(f"{path} is not a stored finding; remove it, and run the claim again")
    version = fields.get("version", 1)
    if not isinstance(version, int) or version > VERSION:
        raise DataError(f"{path} is of version {version}, and this lmworks reads up to {VERSION}; take a newer lmworks")
    return fields


def doubts(folder: Path, question: int, scale: str) -> list[str]:
    """What is wrong with a stored finding, in sentences: edited since, or its log missing, cut off or not its own."""
    path, items = path_of(folder, question, scale), items_of(folder, question, scale)
    fields = _fields(path)
    if fields.get("version", 1) == 1:
        return [f"{path} is of an earlier version, without its seeds and items; run it: lmworks lab {question}"]
    again = f"run it again: lmworks lab {question} --scale {scale}"
    found = []
    if fields.get("sha256") != _hash(fields):
        found.append(f"{path} was changed after it was written (its hash differs); do not trust its figures, {again}")
    if fields.get("items") and not items.is_file():
        found.append(f"{items} is missing, so that no interval can be computed again; {again}")
    elif fields.get("items") and sha256(items) != fields["items"]:
        found.append(f"{items} is not the log of this finding (cut off, or changed); {again}")
    return found


def recomputed(experiment: Experiment, folder: Path, scale: str) -> Finding:
    """The stored finding judged again from its log, by the parts of today; DataError where the log cannot be read."""
    from lmworks.lab import judging
    from lmworks.lab.parts import Looks
    from lmworks.lab.table import Table, unpack

    stored = read(path_of(folder, experiment.question, scale))
    lines = unpack(items_of(folder, experiment.question, scale))
    table = Table()
    try:
        table.read(line for line in lines if "metric" in line)
        heads = [line["head"] for line in lines if "head" in line]
        looks = Looks(tuple(heads[0]["looks"]["after"]), tuple(heads[0]["looks"]["alphas"]))
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise DataError(f"the log of claim {experiment.question} is not one of ours ({error}); run it again") from error
    seeds = stored.seeds  # the log may hold more, of a look that was broken off
    found = judging.finding_of(experiment, table, looks, seeds, heads, stored.recipe, stored.seconds, stored.stopped)
    return found.but(items=stored.items)


def stored(question: int, folder: Path | None = None, scale: Scale | None = None) -> Finding | None:
    """A folder's finding of a question, or the shipped one: that of the scale, or else of the full scale where there
    is one. None where there is none."""
    found = place_of(question, [SHIPPED if folder is None else folder], scale)
    return None if found is None else read(path_of(found[0], question, found[1]))


def place_of(question: int, folders: Sequence[Path], scale: Scale | None = None) -> tuple[Path, Scale] | None:
    """The first of these folders that has a finding, and its scale; None where none has."""
    scales: tuple[Scale, ...] = ("full", "quick") if scale is None else (scale,)
    places = ((folder, one) for folder in folders for one in scales)
    return next(((folder, one) for folder, one in places if path_of(folder, question, one).is_file()), None)


def required(question: int, folders: Sequence[Path], scale: Scale | None = None) -> tuple[Path, Scale]:
    """The same; ConfigError where none has one, or where there is no such claim."""
    found = place_of(question, folders, scale)
    if found is None:
        registry.must_be_there(question)
        of, how = ("", "") if scale is None else (f" of scale {scale}", f" --scale {scale}")
        raise ConfigError(f"claim {question} has no stored result{of}; run it: lmworks lab {question}{how}")
    return found


def same(experiment: Experiment, looks: Looks, recipe: dict[str, Any], scale: Scale, folder: Path) -> Finding | None:
    """The folder's finding of an experiment, if it was run with these parameters and the parts of today."""
    path = path_of(folder, experiment.question, scale)
    finding = read(path) if path.is_file() else None
    if finding is None or finding.rules != experiment.rules(looks):
        return None
    return finding if finding.recipe == json.loads(json.dumps(recipe)) else None
