"""Public families: what maps an architecture's config keys and tensor names onto the one network, both ways.

A file of this folder declares a `Family` (or several that are alike): its name is the `model_type` of config.json.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from lmworks.basics.declared import declared
from lmworks.basics.errors import ModelError
from lmworks.models.families.tables import Family

FAMILIES: dict[str, Family] = declared("lmworks.models.families", Family)

SAME = 3
"""Letters that names of relatives begin with: those of gemma3n and gemma3, and not those of mamba and gemma."""


def family_of(model_type: object) -> Family:
    """The family of a `model_type`; ModelError naming the nearest one."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise not_known(model_type, FAMILIES)
    return FAMILIES[model_type]


def not_known(architecture: object, known: Iterable[str]) -> ModelError:
    """An error that names the nearest of the known architectures, where one has a like name, and says where all are."""
    name, names = str(architecture), list(known)
    relatives = [one for one in names if one[:SAME] == name[:SAME]]
    near = difflib.get_close_matches(name, relatives, n=1, cutoff=0) or difflib.get_close_matches(
        name, names, n=1, cutoff=0.8
    )
    hint = f"the nearest that is known is {near[0]!r}; " if near else ""
    return ModelError(
        f"the architecture {architecture!r} is not known; {hint}docs/models.md lists the {len(names)} that are"
    )
