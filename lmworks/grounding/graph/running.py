"""Where queries run: a process of our own that is ended after some seconds, or a SPARQL 1.1 endpoint."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.extras import require
from lmworks.grounding.graph.terms import Term

SECONDS = 5.0
"""After which a query is ended."""
ROWS = 10_000
"""Rows of an answer, at most."""
LONGEST_QUERY = 100_000
"""Characters."""
LARGEST_ANSWER = 32 * 2**20
"""Bytes that are read from an endpoint."""

_UNREAD = re.compile(
    r"""\"\"\"(?:\\.|[^\\])*?\"\"\" | '''(?:\\.|[^\\])*?''' | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'
    | <[^<>"{}|^`\\\s]*> | \#[^\n]*""",
    re.DOTALL | re.VERBOSE,
)
_NAMES = re.compile(r"[?$]\w+ | (?<=:)[\w-]+ | @[\w-]+", re.VERBOSE)
"""Variables, names after a prefix, and languages: orders neither stand in them nor end them."""
_UPDATE = re.compile(r"\b(INSERT|DELETE|LOAD|CLEAR|DROP|CREATE|COPY|MOVE|ADD)\b(?!:)", re.IGNORECASE)
_SERVICE = re.compile(r"(?:(?<=true)|(?<=false)|(?<![^\W\d])(?<!-))SERVICE", re.IGNORECASE)
"""A parser needs no space around it: after `1` or `true`, and before `SILENT` or the prefix of a name, it is one."""
_FORMS = re.compile(r"\b(SELECT|ASK|CONSTRUCT|DESCRIBE)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Rows:
    """What a query gives."""

    variables: Sequence[str]
    rows: Sequence[Sequence[Term | None]]
    more: bool = False
    """Whether there were more rows than are here."""


class Runs(Protocol):
    """What runs a query."""

    def run(self, query: str, rows: int = ROWS) -> Rows:
        """The rows of a query; DataError where it is wrong, takes too long, or cannot be run."""


def check_query(query: str) -> None:
    """ConfigError for what is no query: an update, or one that asks a server of its own choice."""
    if len(query) > LONGEST_QUERY:
        raise ConfigError(f"the query has {len(query):,} characters; at most {LONGEST_QUERY:,} are read")
    for written in (query, _without_escapes(query)):  # an endpoint may read them in either way
        _check_orders(_NAMES.sub(" ", _UNREAD.sub(" ", written)))


def _without_escapes(query: str) -> str:
    """With the characters that \\u0053 and \\U00000053 stand for, which may be any of a query, its orders too (SPARQL
    1.1, section 19.2)."""

    def character(found: re.Match[str]) -> str:
        code = int(found[1] or found[2], 16)
        return chr(code) if code <= sys.maxunicode else found[0]

    return re.sub(r"\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})", character, query)


def _check_orders(bare: str) -> None:
    """ConfigError for an update or for SERVICE in a query without its texts and names."""
    form, update = _FORMS.search(bare), _UPDATE.search(bare)
    if update and (form is None or update.start() < form.start()):
        raise ConfigError(
            f"{update[1].upper()} changes a graph, and a query only reads; facts come in by: lmworks graph load"
        )
    if _SERVICE.search(bare):
        raise ConfigError("SERVICE asks another server, which no query may do here; load its facts instead")


class Worker:
    """A store on this machine, read by a process of its own that lives from one query to the next."""

    def __init__(self, store: Path, seconds: float = SECONDS) -> None:
        require("pyoxigraph", "graph")
        self.store, self.seconds = store, seconds
        self._process: subprocess.Popen[str] | None = None
        self._end: Callable[[], object] | None = None
        """Ends the process, at the latest when Python does: a `__del__` may come after the modules are gone."""
        self._alone = threading.Lock()
        """One query at a time: its answer is the next line."""

    def run(self, query: str, rows: int = ROWS) -> Rows:
        """The rows of a query; the process is ended when it takes longer than `seconds`."""
        check_query(query)
        with self._alone:
            started = time.monotonic()
            line = self._line(json.dumps({"query": query, "rows": rows}))
        if not line:
            if time.monotonic() - started >= self.seconds:
                raise DataError(f"the query was ended after {self.seconds:g} s; ask for less (LIMIT, fewer variables)")
            raise DataError(
                f"the query could not be run on {self.store.parent}: it needs too much memory, or the graph changed "
                "meanwhile; ask for less, or ask again"
            )
        found = json.loads(line)
        if "error" in found:
            raise DataError(f"the query is not SPARQL: {' '.join(found['error'].split())[:300]}")
        terms = [[None if one is None else Term.of(one) for one in row] for row in found["rows"]]
        return Rows(found["variables"], terms, found["more"])

    def _line(self, asked: str) -> str:
        """The process's answer to a line; empty where it was ended, and the next one begins anew."""
        process, line = self._started(), ""
        with contextlib.suppress(BrokenPipeError):
            assert process.stdin and process.stdout
            process.stdin.write(f"{asked}\n")
            process.stdin.flush()
            line = process.stdout.readline()
        if not line:
            self.close()
        return line

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", f"{__package__}.worker", str(self.store), str(self.seconds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
            )
            self._end = weakref.finalize(self, _ended, self._process)
        return self._process

    def close(self) -> None:
        """End the process."""
        if self._end is not None:
            self._end()
        self._process = self._end = None


def _ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(BrokenPipeError):
            pipe and pipe.close()


class Endpoint:
    """A SPARQL 1.1 endpoint: the query by POST, the answer in JSON."""

    def __init__(self, address: str, seconds: float = SECONDS) -> None:
        parts = urllib.parse.urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{address} is no address of a SPARQL endpoint; it begins with http:// or https://")
        self.address, self.seconds = address, seconds

    def run(self, query: str, rows: int = ROWS) -> Rows:
        """The rows of a query; reading ends after `seconds` or LARGEST_ANSWER bytes."""
        check_query(query)
        request = urllib.request.Request(
            self.address,
            urllib.parse.urlencode({"query": query}).encode(),
            {"Accept": "application/sparql-results+json", "User-Agent": "lmworks"},
        )
        try:
            found = json.loads(self._read(request))
            if "boolean" in found:
                return Rows(["answer"], [[Term("literal", str(found["boolean"]).lower())]])
            names: list[str] = found["head"]["vars"]
            bindings: list[dict[str, Any]] = found["results"]["bindings"]
            terms = [[Term.of(row[name]) if name in row else None for name in names] for row in bindings[:rows]]
            return Rows(names, terms, len(bindings) > rows)
        except urllib.error.HTTPError as error:
            with error:
                said = " ".join(error.read(300).decode("utf-8", "replace").split())
            raise DataError(f"{self.address} refuses the query ({error.code}): {said or error.reason}") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            why = getattr(error, "reason", error)
            raise DataError(f"{self.address} gave no results of SPARQL in JSON ({why}); is it an endpoint?") from None

    def _read(self, request: urllib.request.Request) -> bytes:
        until, parts, size = time.monotonic() + self.seconds, [], 0
        with urllib.request.urlopen(request, timeout=self.seconds) as reply:
            while block := reply.read1(2**16):
                parts.append(block)
                size += len(block)
                if size > LARGEST_ANSWER:
                    raise DataError(f"{self.address} sends more than {LARGEST_ANSWER // 2**20} MiB; ask for less")
                if time.monotonic() > until:
                    raise DataError(f"{self.address} took longer than {self.seconds:g} s; ask for less")
        return b"".join(parts)
