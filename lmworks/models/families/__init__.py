"""Public families: what maps an architecture's config keys and tensor names onto the one network, both ways.

A file of this folder declares a `Family` (or several that are alike): its name is the `model_type` of config.json.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from lmworks.basics.declared import declared
from lmworks.basics.errors import ModelError
from lmworks.models.families.tables import Family

FAMILIES: dict[str, Family] = declared("lmworks.models.families", Family)

SAME = 3
"""Letters that names of relatives begin with: those of gemma3n and gemma3, and not those of mamba and gemma."""
KINDS = {
    "llama": "decoders",
    "bert": "encoders",
    "t5": "encoder-decoders",
    "vit": "of images",
    "whisper": "of sound",
}
"""What there is, by an architecture of the kind."""


def family_of(model_type: object) -> Family:
    """The family of a `model_type`; ModelError naming the nearest one."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise not_known(model_type, FAMILIES)
    return FAMILIES[model_type]


def not_known(architecture: object, known: Iterable[str]) -> ModelError:
    """An error that names the nearest of the known architectures where one has a like name, else the kinds that there
    are; and where all are listed."""
    name, names = str(architecture), list(known)
    place = f"docs/models.md lists the {len(names)} that are"
    if architecture is None:
        return ModelError(f"its files name no architecture (model_type in config.json); fetch them again: {place} read")
    if near := _nearest(name, names):
        return ModelError(
            f"the architecture {architecture!r} is not known; the nearest that is known is {near!r}; {place}"
        )
    kinds = ", ".join(f"{kind} ({one})" for one, kind in KINDS.items() if one in names)
    return ModelError(f"the architecture {architecture!r} is not known, and none of a like name is; {place}: {kinds}")


def _nearest(name: str, names: Sequence[str]) -> str | None:
    """One that begins alike, else the longest that the name holds, else one that has nearly the same letters."""
    relatives = [one for one in names if one[:SAME] == name[:SAME]]
    close = difflib.get_close_matches(name, relatives, n=1, cutoff=0)
    close = close or sorted((one for one in names if _holds(name, one)), key=len)[-1:]
    return next(iter(close or difflib.get_close_matches(name, names, n=1, cutoff=0.8)), None)


def _holds(name: str, known: str) -> bool:
    """camembert holds bert, and chatglm glm. A short name has to begin or end it: dolphin is no relative of phi."""
    return known in name and (len(known) > SAME or name.startswith(known) or name.endswith(known))
