"""generation_config.json: how a model's own folder says that answers are made, where nobody says otherwise.

Read for encoder-decoders: a translator's beams belong to it as its weights do. A decoder answers greedily unless
told, as its file mostly asks for sampling, which is the caller's to choose (and to seed).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.generation.limits import ForcedTokens
from lmworks.generation.strategies import Beam, Greedy, Strategy
from lmworks.models.files.model_folder import read_json

STRATEGY = {  # ours             <- theirs
    "repetition_penalty": "repetition_penalty",
    "no_repeat_ngram": "no_repeat_ngram_size",
    "min_new_tokens": "min_new_tokens",
}
BEAMS = {
    "width": "num_beams",
    "length_penalty": "length_penalty",
    "early_stopping": "early_stopping",
    "groups": "num_beam_groups",
    "diversity_penalty": "diversity_penalty",
}
FORCED = {"first": "forced_bos_token_id", "last": "forced_eos_token_id", "bad_words": "bad_words_ids"}
KNOWN = (*STRATEGY.values(), *BEAMS.values(), *FORCED.values(), "min_length")


@dataclass(frozen=True)
class GenerationConfig:
    """What is known of such a file; other keys are not looked at."""

    strategy: Strategy = field(default_factory=Greedy)
    """Taken where no other is given."""
    forced: ForcedTokens = field(default_factory=ForcedTokens)
    said: Mapping[str, Any] = field(default_factory=dict)
    """The keys of the file that are known, as they are, to be written again."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What a folder says; in older ones config.json does. ModelError for a value that makes no sense."""
        path = folder / "generation_config.json"
        if not path.is_file():
            path = folder / "config.json"
        if not path.is_file():
            return cls()
        said = {name: value for name, value in read_json(path).items() if name in KNOWN and value is not None}
        try:
            return cls(_strategy(said), ForcedTokens(**_ours(FORCED, said)), said)
        except ConfigError as error:
            raise ModelError(f"{path}: {error}") from None


def _ours(names: Mapping[str, str], said: Mapping[str, Any]) -> dict[str, Any]:
    return {ours: said[theirs] for ours, theirs in names.items() if theirs in said}


def _strategy(said: Mapping[str, Any]) -> Strategy:
    settings = _ours(STRATEGY, said)
    # Zero is how their file says "off"; min_length counts the token that opens the target.
    if settings.get("no_repeat_ngram") == 0:
        del settings["no_repeat_ngram"]
    if isinstance(least := said.get("min_length"), int):
        settings.setdefault("min_new_tokens", max(least - 1, 0))
    if said.get("num_beams", 1) == 1:
        return Greedy(**settings)
    return Beam(**settings | _ours(BEAMS, said))
