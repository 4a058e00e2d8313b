"""What a function of the Python API is given, held against its annotations before it runs.

    @checked
    def embed(texts: Sequence[str], *, cut: bool = False): ...

    embed("a cat")                    # ArgumentError: texts is 'a cat'; give a list of strings
    embed([], cut="no")               # ArgumentError: cut is 'no'; give True or False
    embed(line for line in file)      # is given a list

A class that says `given_as: ClassVar[str]` is called so in these sentences. What is inside a list or a mapping is not
looked at, and an annotation that names what its file imports for type checkers alone is not held against anything.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import types
from collections.abc import Callable, Collection, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from lmworks.basics.errors import ArgumentError, did_you_mean

F = TypeVar("F", bound=Callable[..., Any])

LONGEST = 60
"""Characters of a wrong value that are shown."""
NUMBERS: dict[Any, Any] = {int: Integral, float: Real}
"""NumPy's numbers are as good as Python's."""
WORDS: dict[Any, str] = {
    **{str: "a string", int: "a whole number", float: "a number", bool: "True or False"},
    **{None: "None", types.NoneType: "None", Mapping: "a dict", Callable: "a function"},
    **{os.PathLike: "a path", Path: "a path"},
}
MANY: dict[Any, str] = {str: "strings", int: "whole numbers", float: "numbers", Mapping: "dicts", os.PathLike: "paths"}
UNIONS = (Union, types.UnionType)


def checked(function: F) -> F:
    """The function, which raises ArgumentError, one sentence, for an argument of the wrong kind, for one that it does
    not have, and where one is missing. What can be read only once becomes a list where a sequence is wanted."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        given = _bound(function, args, kwargs)
        return function(*given.args, **given.kwargs)

    return cast(F, called)


def _bound(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
    signature, kinds = _declared(function)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise ArgumentError(_misfit(signature, kinds, kwargs, error)) from None
    given = bound.arguments
    for name, value in given.items():
        kind = kinds[name]
        if isinstance(value, Iterator | KeysView | ValuesView) and _wants_sequence(kind):
            given[name] = list(value)
        if not fits(given[name], kind):
            alone = f", such as [{shown(value)}]" if isinstance(value, str) and _wants_sequence(kind) else ""
            raise ArgumentError(f"{name} is {shown(value)}; give {_wanted(kind)}{alone}")
    return bound


@functools.cache
def _declared(function: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    """A function's parameters, and the kind of each."""
    signature, names = inspect.signature(function), vars(sys.modules[function.__module__])
    kinds = {}
    for name, one in signature.parameters.items():
        several = one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        kinds[name] = Any if several or one.annotation is one.empty else _kind(one.annotation, names)
    return signature, kinds


def _kind(annotation: Any, names: dict[str, Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, names)  # it is the house's own
    except (NameError, TypeError):
        return Any


def _each(kind: Any) -> tuple[Any, ...]:
    """The kinds that a kind is a choice of."""
    if get_origin(kind) is Annotated:
        return _each(get_args(kind)[0])
    if get_origin(kind) not in UNIONS:
        return (kind,)
    return tuple(inner for one in get_args(kind) for inner in _each(one))


def _wants_sequence(kind: Any) -> bool:
    return any(get_origin(one) is Sequence for one in _each(kind))


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind."""
    if get_origin(kind) in (*UNIONS, Annotated):
        return any(fits(value, one) for one in _each(kind))
    if get_origin(kind) is Literal:
        return any(type(value) is type(one) and value == one for one in get_args(kind))
    plain = types.NoneType if kind is None else get_origin(kind) or kind
    return _is(value, plain) if isinstance(plain, type) and plain is not Any else True


def _is(value: Any, kind: type) -> bool:
    if getattr(kind, "_is_protocol", False) and not getattr(kind, "_is_runtime_protocol", False):
        return not isinstance(value, type) and all(hasattr(value, name) for name in vars(kind) if name[0] != "_")
    if isinstance(value, str | bytes):  # a text is a sequence of texts, and never meant as one
        return isinstance(value, kind) and (kind in (str, bytes) or not issubclass(kind, Collection))
    if kind is Sequence:  # arrays, tensors and columns of tables count too, and are registered nowhere
        return hasattr(value, "__len__") and hasattr(value, "__getitem__") and not isinstance(value, Mapping)
    if kind is bool:
        return type(value).__name__ in ("bool", "bool_")  # NumPy's too
    if isinstance(value, bool) and kind in NUMBERS:  # Python counts it among the whole numbers
        return False
    return isinstance(value, NUMBERS.get(kind, kind))


def two_texts(value: Any) -> bool:
    """Whether a value is two texts: in a tuple, a list, or a row of an array."""
    return (
        isinstance(value, Iterable)
        and not isinstance(value, str | bytes)
        and [isinstance(one, str) for one in value] == [True, True]
    )


def _wanted(kind: Any) -> str:
    """What could be given, in words."""
    words = [_word(one) for one in _each(kind)]
    return _or(dict.fromkeys(one for one in words if one != "None" or len(words) == 1))


def _word(kind: Any) -> str:
    plain, inside = get_origin(kind) or kind, get_args(kind)
    if plain is Literal:
        return _or(map(repr, inside))
    if plain in (Sequence, Iterable):
        many = [_many(one) for one in _each(inside[0])]
        return f"a list of {_or(many)}" if all(many) else "a list"
    said = getattr(plain, "given_as", None) or WORDS.get(plain)
    return said or _with_article(getattr(plain, "__name__", str(plain)))


def _many(kind: Any) -> str:
    """Several of a kind, in words; empty where there are none."""
    plain = get_origin(kind) or kind
    named = isinstance(plain, type) and plain not in (Any, tuple, Sequence)
    return MANY.get(plain) or (f"{plain.__name__}s" if named else "")


def _or(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def shown(value: Any) -> str:
    """A value for a sentence: itself where it is short, else what it is."""
    plain = value is None or isinstance(value, bool | Real | str | bytes)
    text = repr(value) if plain else ""
    if text and len(text) <= LONGEST:
        return text
    return f"the class {value.__name__}" if isinstance(value, type) else kind_of(value)


def kind_of(value: Any) -> str:
    """What a value is, with its article: `an int`, `a Path`."""
    return _with_article(type(value).__name__)


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiouAEIO' else 'a'} {name}"


def _misfit(signature: inspect.Signature, kinds: Mapping[str, Any], kwargs: Mapping[str, Any], error: TypeError) -> str:
    """Why arguments fit no parameters."""
    known = [name for name in signature.parameters if name != "self"]
    for name in (one for one in kwargs if one not in signature.parameters):
        for parameter, kind in kinds.items():
            if (settings := _with_setting(kind, name)) is not None:
                return f"{name} is a setting of {settings}; give {parameter}={settings}({name}={shown(kwargs[name])})"
        return f"there is no argument {name}; {did_you_mean(name, known)}there are {', '.join(known)}"
    return str(error)


def _with_setting(kind: Any, name: str) -> str | None:
    """The class of settings, among those that may be given, that has a setting of this name."""
    classes = [one for one in _each(kind) if hasattr(one, "model_fields")]
    having = [one for each in classes for one in (each, *each.__subclasses__()) if name in one.model_fields]
    return min(having, key=lambda one: len(one.model_fields)).__name__ if having else None
