"""Public families: what maps an architecture's config keys and tensor names onto the one network, both ways.

A file of this folder declares a `Family` (or several that are alike): its name is the `model_type` of config.json.
"""

from __future__ import annotations

from lmworks.basics.declared import declared
from lmworks.basics.errors import ModelError
from lmworks.models.families.tables import Family

FAMILIES: dict[str, Family] = declared("lmworks.models.families", Family)


def family_of(model_type: object) -> Family:
    """The family of a `model_type`; ModelError listing the known ones."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ModelError(f"the architecture {model_type!r} is not known; known are {', '.join(FAMILIES)}")
    return FAMILIES[model_type]
