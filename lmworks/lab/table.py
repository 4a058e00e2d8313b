"""Table: everything that an experiment logged, as (seed, condition, item, metric) and a value.

    table = Table()
    table.add(3, "greedy", BLEU.name, counts, items=sentences)     # one row of counts for each sentence
    table.add(FIXED, "people", REPEATS.name, 0.04)                 # the same for every seed: nothing random in it

One line of JSON each, so that a run that is killed keeps what it logged; the finished log lies compressed beside its
finding, and every interval can be computed again from it.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.files import written_whole
from lmworks.lab.metric import Array

FIXED = None
"""Stands for the seed where nothing is random."""
Seed = int | None
DIGITS = 7
"""Significant digits that are kept, so that what is stored is what was judged."""
LARGEST = 256 * 2**20
"""Bytes of a log when it is unpacked; a larger one is not ours."""


@dataclass(frozen=True)
class Logged:
    """The values of one metric under one condition and seed."""

    counts: Array
    """[items, counts]: a value and 1, or what the metric sums over its items."""

    items: tuple[str, ...] | None = None
    """Names of the items; None where each seed has items of its own, or one value is all."""

    clamped: bool = False
    """Whether a value stands at the edge of what could be measured: it can decide nothing."""


@dataclass
class Table:
    """Entries by metric, condition and seed."""

    entries: dict[tuple[str, str, Seed], Logged] = field(default_factory=dict)

    def add(
        self,
        seed: Seed,
        condition: str,
        metric: str,
        values: float | ArrayLike,
        items: Sequence[str] | None = None,
        clamped: bool = False,
    ) -> dict[str, Any]:
        """Add a number, a number for each item [items], or counts of each [items, counts]; returns the log's line.

        ConfigError for what is not finite, is there already, or does not fit the items.
        """
        at = f"{metric}, {condition}" + ("" if seed is None else f", seed {seed}")
        numbers = np.asarray(values, dtype=np.float64)
        if numbers.ndim == 0:
            numbers, items = numbers[None], None
        if numbers.ndim > 2 or not len(numbers):
            raise ConfigError(f"{at}: the values have the shape {list(numbers.shape)}; give [items] or [items, counts]")
        if not np.isfinite(numbers).all():
            raise ConfigError(f"{at}: a value is NaN or infinite; log how often that happens, or leave the seed out")
        if (metric, condition, seed) in self.entries:
            raise ConfigError(f"{at} is logged twice; name the conditions differently, or log all items at once")
        if items is not None and (len(items) != len(numbers) or len(set(items)) != len(items)):
            raise ConfigError(f"{at}: {len(numbers)} values for {len(set(items))} different items; give one each")
        line = {
            "seed": seed,
            "condition": condition,
            "metric": metric,
            "values": [_rounded(one) for one in numbers.tolist()],
            **({} if items is None else {"items": list(map(str, items))}),
            **({"clamped": True} if clamped else {}),
        }
        self._keep(line)
        return line

    def read(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Add the lines of a log."""
        for line in lines:
            self._keep(line)

    def _keep(self, line: Mapping[str, Any]) -> None:
        counts = np.asarray(line["values"], dtype=np.float64)
        if counts.ndim == 1:
            counts = np.stack([counts, np.ones(len(counts))], axis=1)
        items = line.get("items")
        entry = Logged(counts, None if items is None else tuple(items), bool(line.get("clamped")))
        self.entries[line["metric"], line["condition"], line["seed"]] = entry

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed of which something was logged."""
        return tuple(sorted({seed for _, _, seed in self.entries if seed is not None}))

    def entry(self, metric: str, condition: str, seed: Seed) -> Logged:
        """What was logged for the seed, or what holds for every seed; ConfigError where neither is there."""
        for one in (seed, FIXED):
            found = self.entries.get((metric, condition, one))
            if found is not None:
                return found
        known = sorted({name for of, name, _ in self.entries if of == metric})
        raise ConfigError(
            f"no {metric!r} was logged for {condition!r}, seed {seed}; there is {', '.join(known) or 'none at all'}"
        )

    def is_fixed(self, metric: str, conditions: Sequence[str]) -> bool:
        """Whether all of these are the same for every seed."""
        return all((metric, one, FIXED) in self.entries for one in conditions)

    def pairs(self) -> list[tuple[str, str]]:
        """Each metric and condition, in the order in which they were logged."""
        return list(dict.fromkeys((metric, condition) for metric, condition, _ in self.entries))


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def read_lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """The whole lines of a log that is being written, and the bytes of each; a last one that is cut off is left out."""
    with path.open("rb") as file:
        for raw in file:
            try:
                line = json.loads(raw) if raw.endswith(b"\n") else None
            except ValueError:
                line = None
            if not isinstance(line, dict):
                return
            yield line, len(raw)


def written(line: Mapping[str, Any]) -> str:
    """A line of a log, without its end."""
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"))


def pack(lines: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write the lines of a log compressed; the same lines give the same bytes."""
    with (
        written_whole(path) as temporary,
        temporary.open("wb") as file,
        gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as out,
    ):
        for line in lines:
            out.write(f"{written(line)}\n".encode())


def unpack(path: Path) -> list[dict[str, Any]]:
    """The lines of a compressed log; DataError for one that is cut off or not ours."""
    try:
        with gzip.open(path, "rb") as file:
            raw = file.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise DataError(f"{path} unpacks to more than {LARGEST:,} bytes; remove it, and run the claim again")
        return [json.loads(line) for line in raw.decode("utf-8").splitlines()]
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); remove it, and run the claim again") from error
