"""Jinja for templates from strangers: the language of chat templates, with bounded time and memory.

Jinja's own sandbox keeps a template away from Python's insides, but not from eating the machine: a doubled
string, `'%999999999d'` or three nested loops are enough. Here, every value that a template makes is paid
for from a budget (bytes made, blocks entered, items walked), the price of what may explode is checked before
it is computed, and a clock limits what is cheap in bytes but slow. Only the methods and filters that chat
templates need are there. The language itself stays Jinja's: the code generator is theirs, with the payments
written in between, and constants are not computed while compiling.
"""

from __future__ import annotations

import functools
import json
import re
import sys
import threading
import time
import types
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from jinja2 import Template, TemplateError, Undefined, nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError
from jinja2.utils import Namespace

_LONGEST_SOURCE = 2**17  # characters; the longest public chat template has 30,000
_BYTES, _BYTES_PER_INPUT = 2**26, 2**7  # what one rendering may make in all, growing with the messages
_SECONDS, _SECONDS_PER_BYTE = 1.0, 1e-7  # of this thread's computing, growing with the messages
_ITEM = 64  # the price of an item, a step, a call, in bytes
_DEPTH = 64  # containers in containers
_LARGEST_INT = 2**64

_METHODS: dict[Any, set[str]] = {
    str: {
        "strip",
        "lstrip",
        "rstrip",
        "upper",
        "lower",
        "title",
        "capitalize",
        "swapcase",
        "casefold",
        "startswith",
        "endswith",
        "split",
        "rsplit",
        "splitlines",
        "partition",
        "rpartition",
        "replace",
        "removeprefix",
        "removesuffix",
        "find",
        "rfind",
        "index",
        "rindex",
        "count",
        "join",
        "isdigit",
        "isnumeric",
        "isdecimal",
        "isalpha",
        "isalnum",
        "isspace",
        "isupper",
        "islower",
    },
    dict: {"get", "items", "keys", "values"},
    list: {"index", "count"},
    tuple: {"index", "count"},
    LoopContext: {
        "index",
        "index0",
        "revindex",
        "revindex0",
        "first",
        "last",
        "length",
        "depth",
        "depth0",
        "previtem",
        "nextitem",
        "cycle",
        "changed",
    },
}
_DEEP_FILTERS = {"string", "e", "escape", "safe"}  # these and tojson make text out of whole trees
_FILTERS = _DEEP_FILTERS | {
    "abs",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "select",
    "selectattr",
    "sort",
    "title",
    "trim",
    "unique",
    "upper",
}
_ITERATING = {"list", "map", "reverse", "sort", "unique", "select", "reject", "selectattr", "rejectattr"}
_PLAIN = (str, int, float, type(None), Undefined)
_CONTAINERS: Any = (list, tuple, dict, type({}.keys()), type({}.values()), type({}.items()))
_COUNTED: Any = (*_CONTAINERS, str, range)
_OTHER_TEMPLATES: Any = (
    nodes.Include,
    nodes.Import,
    nodes.FromImport,
    nodes.Extends,
    nodes.Block,
    nodes.ScopedEvalContextModifier,
)


class _Budget(threading.local):
    """What is left of one rendering's bytes and seconds; each thread renders on its own."""

    left = 0.0
    deadline = 0.0

    def start(self, size: int) -> None:
        self.left = _BYTES + _BYTES_PER_INPUT * size
        self.deadline = time.thread_time() + _SECONDS + _SECONDS_PER_BYTE * size

    def spend(self, amount: float) -> None:
        self.left -= amount
        if self.left < 0:
            raise SecurityError("it needs far more memory or steps than its messages justify")
        if time.thread_time() > self.deadline:
            raise SecurityError("it needs far more time than its messages justify")


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment in which chat templates are compiled and rendered, set up as transformers does."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        self.budget = _Budget()
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            finalize=_printed,
            extensions=[_Generation, loopcontrols],
        )
        self.code_generator_class = _PayingCode
        self.filters = {name: self._paid(name, self.filters[name]) for name in _FILTERS}
        self.filters["tojson"] = self._paid("tojson", _tojson)
        self.globals = {
            "range": _range,
            "namespace": Namespace,
            "dict": dict,
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
        }
        self._functions = tuple(self.globals.values())

    def prepare(self, source: str) -> Template:
        """Compile a template. Raises what Jinja and Python raise for text that is none."""
        if len(source) > _LONGEST_SOURCE:
            raise SecurityError(f"it has {len(source):,} characters, more than any chat template needs")
        tree = self.parse(source)
        if tree.find(_OTHER_TEMPLATES) is not None:
            raise SecurityError("it refers to other templates, or switches escaping")
        return self.from_string(tree)

    def render(self, template: Template, variables: dict[str, Any], size: int) -> str:
        """Render over messages of `size` bytes in all. Raises whatever the template raises."""
        self.budget.start(size)
        return self.concat(template.generate(**variables))

    # What the generated code calls

    def pay(self, value: Any) -> Any:
        """Pay for a value that was just made out of others."""
        self.budget.spend(_ITEM + sys.getsizeof(value))
        return value

    def pay_tree(self, value: Any) -> Any:
        """Pay for a container that was just put around others: as large as it would be printed."""
        self.budget.spend(_ITEM + self.weigh(value))
        return value

    def step(self) -> None:
        """Pay for entering a block: each turn of a loop, each call of a macro."""
        self.budget.spend(2 * _ITEM)

    def joined(self, parts: Iterable[Any]) -> str:
        """Jinja's `~`."""
        return self.concat(part if isinstance(part, str) else str(self.printable(part)) for part in parts)

    def concat(self, parts: Iterable[str]) -> str:  # type: ignore[override]  # a plain function there
        """Join strings; each is paid for before the whole is made."""
        texts = []
        for part in parts:
            self.budget.spend(_ITEM + sys.getsizeof(part))
            texts.append(part)
        return "".join(texts)

    def printable(self, value: Any) -> Any:
        """A value whose text may be made: at most ten times as long as what it weighs."""
        self.budget.spend(10 * self.weigh(value))
        return value

    def weigh(self, value: Any) -> int:
        """Bytes of a value as a tree, so that what is shared counts each time it would be printed."""
        total, todo = 0, [(value, 0)]
        while todo:
            item, depth = todo.pop()
            if isinstance(item, _CONTAINERS):
                if depth > _DEPTH:
                    raise SecurityError(f"it nests lists more than {_DEPTH} deep")
                inner = [*item, *item.values()] if isinstance(item, dict) else list(item)
                total += _ITEM * len(inner)
                todo += [(part, depth + 1) for part in inner]
            elif isinstance(item, int) and abs(item) >= _LARGEST_INT:
                raise SecurityError("it computes a number of more than 64 bits")
            elif isinstance(item, _PLAIN):
                total += sys.getsizeof(item) if isinstance(item, str) else _ITEM
            else:
                raise SecurityError(f"it handles a {type(item).__name__} like a value")
            if total > self.budget.left:
                raise SecurityError("it needs far more memory than its messages justify")
        return total

    # What Jinja asks

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Only the methods in the table, and what a namespace was given."""
        if attr.startswith("_"):
            return False
        if isinstance(obj, Namespace):
            return True
        return any(isinstance(obj, kind) and attr in names for kind, names in _METHODS.items())

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Call one of the template's own macros, of the functions above, or a method from the table."""
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(__obj, types.BuiltinMethodType | types.MethodType):
            if not __self.is_safe_attribute(owner, name, __obj):
                raise SecurityError(f"it calls {name}, which no chat template needs")
            if isinstance(owner, str):
                __self.budget.spend(_price(__self, owner, name, args))
        elif not (isinstance(__obj, Macro | LoopContext | Undefined) or __obj in __self._functions):
            raise SecurityError(f"it calls {name or type(__obj).__name__}, which no chat template needs")
        result = super().call(__context, __obj, *args, **kwargs)
        return __self.pay_tree(result) if __obj is dict else __self.pay(result)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic, and `+` and `*` on strings and lists; the price of what may explode is paid before."""
        self.weigh([side for side in (left, right) if isinstance(side, int)])
        series = [side for side in (left, right) if isinstance(side, str | list | tuple)]
        if series and operator == "*":
            times = right if series[0] is left else left
            self.budget.spend(self.weigh(series[0]) * max(times, 0) if isinstance(times, int) else 0)
        elif series and operator == "+":
            self.budget.spend(sys.getsizeof(left) + sys.getsizeof(right))
        elif series and operator == "%":
            raise SecurityError("it formats with %, which no chat template needs")
        elif operator == "**" and not (abs(left) < 2**32 and abs(right) <= 64):
            raise SecurityError("it computes a number of more than 64 bits")
        return self.pay_tree(super().call_binop(context, operator, left, right))

    def _paid(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that pays for what it reads and makes; lazy results become lists."""
        deep = name in _DEEP_FILTERS or name == "tojson"

        @functools.wraps(function)
        def filtered(*args: Any, **kwargs: Any) -> Any:
            jinjas_own = Context | Sandbox | nodes.EvalContext  # some filters get these in front
            value, *further = [arg for arg in args if not isinstance(arg, jinjas_own)]
            further += kwargs.values()
            if name == "join":
                self.budget.spend(_joining(self, value, further[0] if further else ""))
            elif isinstance(value, str):
                self.budget.spend(_price(self, value, name, further))
            elif deep:
                self.printable(value)
            elif isinstance(value, _CONTAINERS):
                self.budget.spend(_ITEM * len(value))
            result = function(*args, **kwargs)
            return self.pay(list(result) if isinstance(result, types.GeneratorType) else result)

        return filtered


def _price(sandbox: Sandbox, text: str, name: str, args: Any) -> float:
    """What a method or filter of this name may make out of a string, in bytes, before it does."""
    size = sys.getsizeof(text)
    price = 6.0 * size  # an escape in JSON or HTML has at most six characters for one
    if name == "replace":
        old, new = (str(arg) for arg in (*args, "", "")[:2])
        price = size + (text.count(old) if old else len(text) + 1) * 4 * len(new)
    elif name == "join" and args:
        price = _joining(sandbox, args[0], text)
    elif name == "indent":
        width = args[0] if args else 4
        price = size + (text.count("\n") + 1) * (width if isinstance(width, int) else len(str(width))) * 4
    elif name in {"split", "rsplit"} and args and args[0]:
        price = size + _ITEM * (text.count(str(args[0])) + 1)
    elif name in _ITERATING or name in {"split", "rsplit", "splitlines"}:
        price = 2 * _ITEM * len(text)
    return price


def _joining(sandbox: Sandbox, items: Any, separator: Any) -> float:
    """What joining makes; each item counts as a container prints it."""
    count = len(items) if isinstance(items, _COUNTED) else 0
    inner = 0 if isinstance(items, range) else 10 * sandbox.weigh(items)
    return count * (_ITEM + sys.getsizeof(separator)) + inner


class _PayingCode(CodeGenerator):
    """Jinja's code generator, with a payment for each block and for each value that can be large or slow."""

    def blockvisit(self, nodes: Iterable[nodes.Node], frame: Frame) -> None:
        self.writeline("environment.step()")
        super().blockvisit(nodes, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802
        self._paying(super().visit_Getitem, node, frame, "pay" if isinstance(node.arg, nodes.Slice) else "")

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:  # noqa: N802
        self._paying(super().visit_Tuple, node, frame, "pay_tree" if node.ctx == "load" else "")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:  # noqa: N802
        self._paying(super().visit_List, node, frame, "pay_tree")

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802
        self._paying(super().visit_Dict, node, frame, "pay_tree")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:  # noqa: N802
        self._paying(super().visit_Compare, node, frame, "pay")

    def visit_Test(self, node: nodes.Test, frame: Frame) -> None:  # noqa: N802
        self._paying(super().visit_Test, node, frame, "pay")

    def _paying(self, visit: Callable[..., None], node: nodes.Node, frame: Frame, how: str) -> None:
        self.write(f"environment.{how}(" if how else "")
        visit(node, frame)
        self.write(")" if how else "")


class _Generation(Extension):
    """`{% generation %}` marks what the model writes; here it only opens a scope, as in transformers."""

    tags = {"generation"}  # noqa: RUF012  (as Jinja declares it)

    def parse(self, parser: Parser) -> nodes.Node:
        """The block's content, in a scope of its own."""
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class RefusedError(TemplateError):
    """What a template says through `raise_exception`."""


@pass_context
def _printed(context: Context, value: Any) -> Any:
    sandbox: Any = context.environment
    return value if isinstance(value, str) else sandbox.printable(value)


def _range(*limits: int) -> range:
    numbers = range(*limits)
    if len(numbers) > 100_000:
        raise SecurityError("it counts further than 100,000")
    return numbers


def _raise_exception(message: Any) -> None:
    raise RefusedError(str(message)[:500])


def _strftime_now(layout: str) -> str:
    if not re.fullmatch(r"(%-?[A-Za-z%]|[^%]){0,100}", layout):  # no widths: "%999999999d"
        raise SecurityError("it writes the time in a layout that is not plain")
    return datetime.now().strftime(layout)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """JSON as transformers writes it in templates: no HTML escapes."""
    if indent is not None and not (isinstance(indent, int) and 0 <= indent <= 8):
        raise SecurityError("it indents JSON by more than 8")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
