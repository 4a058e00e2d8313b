"""Chat templates run in a process of their own: a template is a program from a stranger.

    sandbox().render(source, variables, size)        # the text, or TemplateError with what is wrong

Jinja's own sandbox keeps a template away from Python's insides, but not from eating the machine: a doubled string,
`'%999999999d'` or three nested loops are enough. So it runs in a worker whose memory and processor time the operating
system bounds. A worker that is killed is replaced. Requests and answers are lines of JSON. The environment is set up as
transformers does. A warm rendering takes 0.1 ms more than one in this process.
"""

from __future__ import annotations

import functools
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from lmworks.basics.errors import LmworksError

LONGEST_SOURCE = 2**17
"""Characters; the longest public chat template has 30,000."""
SECONDS, SECONDS_PER_BYTE = 1.0, 1e-7
"""Processor time of one rendering, growing with the messages."""
BYTES, BYTES_PER_BYTE = 2**26, 2**7
"""Memory of one rendering, growing with the messages."""
TOO_LARGE = "it needs far more memory than its messages justify"
READY = "ready\n"
TOO_SLOW = "it needs far more time than its messages justify"


class TemplateError(Exception):
    """What is wrong with a template, or with messages for it; `kind` is refused, undefined, syntax or stopped."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Sandbox:
    """The worker of this process; threads take turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[str] | None = None

    def check(self, source: str) -> None:
        """Compile a template. Raises TemplateError for a text that is none."""
        self._ask(source, None, 0)

    def render(self, source: str, variables: Mapping[str, Any], size: int) -> str:
        """Render a template over messages of `size` bytes in all. Raises TemplateError whatever goes wrong in it."""
        return self._ask(source, variables, size)

    def _ask(self, source: str, variables: Mapping[str, Any] | None, size: int) -> str:
        if len(source) > LONGEST_SOURCE:
            raise TemplateError("stopped", f"it has {len(source):,} characters, more than any chat template needs")
        try:
            request = json.dumps([source, variables, size])
        except ValueError as error:  # a whole number of more digits than Python writes
            raise TemplateError("stopped", f"a message cannot be written as JSON ({error})") from error
        with self._lock:
            try:
                kind, text = self._answer(request)
            except BaseException:  # Ctrl-C too: an answer that nobody reads would be taken for the next one's
                self._end()
                raise
        if kind == "text":
            return str(text)
        raise TemplateError(kind, text)

    def _answer(self, request: str) -> tuple[str, str]:
        worker = self._running()
        assert worker.stdin is not None and worker.stdout is not None
        try:
            worker.stdin.write(request + "\n")
            worker.stdin.flush()
            answer = worker.stdout.readline()
        except OSError:
            answer = ""
        kind, text = json.loads(answer) if answer else ("stopped", TOO_LARGE)
        if text == TOO_LARGE:  # it has ended, or may still hold what the template made
            text = TOO_SLOW if self._end() == -signal.SIGPROF else TOO_LARGE
        return kind, text

    def _running(self) -> subprocess.Popen[str]:
        if self._worker is None or self._worker.poll() is not None:
            path = [one for one in sys.path if isinstance(one, str)]
            program = f"import sys; sys.path[:] = {path!r}; from lmworks.tokens.chat.sandbox import work; work()"
            self._worker = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="ascii",  # as json writes it
                process_group=0,  # Ctrl-C is for the process that waits for this one
            )
            assert self._worker.stdout is not None
            if self._worker.stdout.readline() != READY:
                raise LmworksError(
                    f"no process could be started in which a chat template runs ({sys.executable} ended with "
                    f"{self._end()}); see whether `python -c 'import lmworks'` works there"
                )
        return self._worker

    def _end(self) -> int | None:
        """End the worker; its exit code, a signal's number below 0."""
        worker, self._worker = self._worker, None
        if worker is None:
            return None
        worker.kill()
        return worker.wait()


@functools.cache
def sandbox() -> Sandbox:
    """The one of this process."""
    return Sandbox()


os.register_at_fork(after_in_child=sandbox.cache_clear)  # a copy of this process has a worker and a lock of its own


# What runs in the worker


class RefusedError(Exception):
    """What a template says through `raise_exception`."""


def work() -> None:
    """Answer requests until standard input ends."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # whoever started this process may ignore it, or block it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    prepared, base = functools.lru_cache(16)(_environment().from_string), _address_space()
    sys.stdout.write(READY)
    sys.stdout.flush()
    for line in sys.stdin:
        source, variables, size = json.loads(line)
        kind, text = _answer(prepared, source, variables, base, size)
        sys.stdout.write(json.dumps([kind, text]) + "\n")
        sys.stdout.flush()


def _answer(prepared: Callable[[str], Any], source: str, variables: Any, base: int, size: int) -> tuple[str, str]:
    from jinja2.exceptions import TemplateSyntaxError, UndefinedError

    try:
        with _bounded(base, size):
            template = prepared(source)
            return "text", "" if variables is None else template.render(variables)
    except RefusedError as error:
        return "refused", str(error)
    except TemplateSyntaxError as error:
        return "syntax", f"{error.message}, line {error.lineno}"
    except UndefinedError as error:
        return "undefined", str(error)
    except MemoryError:
        return "stopped", TOO_LARGE
    except Exception as error:  # it is the template's code that failed, in whatever way
        return "stopped", str(error) or type(error).__name__


@contextmanager
def _bounded(base: int, size: int) -> Iterator[None]:
    """Bounds for one rendering: Python raises MemoryError, or the system ends the process by SIGPROF."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    memory = base + BYTES + BYTES_PER_BYTE * size
    try:
        signal.setitimer(signal.ITIMER_PROF, SECONDS + SECONDS_PER_BYTE * size)
        resource.setrlimit(resource.RLIMIT_AS, (memory if hard == resource.RLIM_INFINITY else min(memory, hard), hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        signal.setitimer(signal.ITIMER_PROF, 0)


def _address_space() -> int:
    """Bytes that this process has mapped; where the system does not say, as many as it may ever need."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except OSError:
        return 2**30


def _environment() -> Any:
    """Jinja's sandbox as transformers sets it up, without what no chat template needs (lipsum, cycler, joiner)."""
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
    from jinja2.utils import Namespace

    class Generation(Extension):
        """`{% generation %}` marks what the model writes; here it only opens a scope, as in transformers."""

        tags = {"generation"}  # noqa: RUF012  (as Jinja declares it)

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals = {
        "range": safe_range,
        "namespace": Namespace,
        "dict": dict,
        "raise_exception": _raise_exception,
        "strftime_now": _strftime_now,
    }
    return environment


def _raise_exception(message: Any) -> None:
    raise RefusedError(str(message)[:500])


def _strftime_now(layout: str) -> str:
    if not re.fullmatch(r"(%-?[A-Za-z%]|[^%]){0,100}", layout):  # no widths: "%999999999d"
        raise ValueError("it writes the time in a layout that is not plain")
    return datetime.now().strftime(layout)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """JSON as transformers writes it in templates: no HTML escapes."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
