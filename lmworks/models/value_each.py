"""What comes beside tokens has a value for each of them: masks, documents, segments. Arrays or tensors alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmworks.basics.errors import ConfigError


def a_value_each(tokens: Sequence[int], **given: Any) -> None:
    """ConfigError unless what is given by name has a value for each token; `tokens` is the shape of these."""
    for name, values in given.items():
        if values is not None and values.shape != tokens:
            raise ConfigError(
                f"the {name} {'have' if name[-1] == 's' else 'has'} the shape {list(values.shape)} and the tokens "
                f"{list(tokens)}; give a value for each token"
            )
