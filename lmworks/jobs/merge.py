"""Models as one: what several learnt added up, or one brought part of the way back to its base.

made = merge(["models/notes", "models/code"], way="ties", out="models/both")
made = merge(["models/notes"], keep=0.7, text="notes/")      # measured at several shares
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from lmworks.adaptation.adapter_files import CONFIG, is_adapter
from lmworks.adaptation.lora import merge_adapters, must_merge
from lmworks.adaptation.merge_settings import MergeSettings
from lmworks.adaptation.old_text import own_texts
from lmworks.adaptation.small_updates import MOST_LOST, dtype_name, merged_networks
from lmworks.basics import progress
from lmworks.basics.amounts import size
from lmworks.basics.arguments import checked
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.basics.files import as_reference
from lmworks.evaluation.drift import drift
from lmworks.evaluation.measurement import Measurement
from lmworks.jobs.build_text import documents_if_had
from lmworks.jobs.comparing import GENERAL, HELD_OUT, TextComparison, compare, measure_texts
from lmworks.jobs.recipe import EvaluationSettings
from lmworks.jobs.runs import say_replaced
from lmworks.language_model import LanguageModel
from lmworks.loading import identity, load
from lmworks.models.adapted import adapted_layers, has_adapters
from lmworks.models.config import ModelConfig
from lmworks.models.files.model_folder import read_facts, read_json, refuse_foreign_files
from lmworks.models.files.references import must_not_replace, resolve
from lmworks.models.network import Network
from lmworks.models.vision.config import reads_images
from lmworks.text.corpus.folder import read_split
from lmworks.text.sources import must_be_somewhere
from lmworks.tokens.chat.conversation import refusal

UNRELATED = "wikitext2"
"""The text that shows what was lost."""
TOKENS = 20_000
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How much of what was learnt is kept, where both texts measure it."""


NO_MEANING = {"family", "context", "dropout", "dim", "hidden_dim", "layers", "vocab_size"}
"""Settings that change nothing of what a weight means, and those that a weight's shape says."""


@dataclass(frozen=True)
class Merged:
    """What was made."""

    folder: Path
    model: LanguageModel
    settings: MergeSettings
    measured: dict[float, list[TextComparison]]
    """By the share that is kept, each text's figures beside the base's; empty without a text."""
    drifts: dict[float, Measurement] = field(default_factory=dict)
    """By the share that is kept, how far the predictions moved from the base's on texts that the base wrote: where the
    text that shows what was lost cannot be had."""
    lost: float = 0.0
    """The share of what was learnt that the base's type would lose, or loses: above a tenth the result is in float32.
    """

    @property
    def measurements(self) -> list[Measurement]:
        """All figures, each with the share in its name; none without a text."""
        return [figure for _, figure in _figures(self.measured, self.drifts)]


@checked
def merge(
    models: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str] | None = None,
    *,
    base: str | os.PathLike[str] | None = None,
    way: str = "task",
    weights: Sequence[float] | None = None,
    keep: float = 1.0,
    density: float = 0.2,
    seed: int = 0,
    text: str | os.PathLike[str] | None = None,
    tokens: int | None = None,
) -> Merged:
    """Merge models of one shape, whole ones or adapters, in one of the ways of MergeSettings; writes a model directory.

    `base` is what they were made from, unless an adapter or lmworks.json names it. With `text`, what was learnt of it
    and what was lost of WikiText-2 are measured at several shares kept, on at most about `tokens` tokens of each
    (20,000 unless given). Where WikiText-2 cannot be had, what was lost is the drift from the base, on texts that the
    base itself writes.
    The result has the base's type, or float32 where that would lose more than a tenth of what was learnt.
    ConfigError for settings out of range, ModelError for models that do not go together.
    """
    base, text = as_reference(base), as_reference(text)
    if tokens is not None and text is None:
        raise ConfigError("tokens is how much of each text is read; give text too, or leave tokens out")
    numbers = None if weights is None else tuple(weights)
    settings = MergeSettings.given(len(models), numbers, way=way, keep=keep, density=density, seed=seed)
    measuring = EvaluationSettings(tokens=tokens or TOKENS)
    folder = Path(out) if out is not None else Path("models") / f"{Path(str(models[0])).name}-merged"
    refuse_foreign_files(folder)
    reference = base or base_of(str(models[0]))
    must_not_replace(folder, reference, *models)
    say_replaced(folder)
    if text is not None:
        must_be_somewhere(text)
    started = load(reference, compress="none")
    if reads_images(started.config):
        raise ConfigError(f"{reference} reads images, and models of text or sound alone are merged here")
    networks = [_merged_network(str(one), base, started) for one in models]

    measured, drifts = {}, {}
    if text is not None:
        texts = {HELD_OUT: read_split(text, 0.1, refusal=partial(refusal, started.tokenizer))[1].held_out}
        written = []
        if (general := documents_if_had(UNRELATED)) is not None:
            texts[GENERAL] = general
        else:
            progress.note(
                f"{UNRELATED} is not on this machine and cannot be fetched, so what was lost is measured as the drift "
                "from the base, on texts that the base itself writes"
            )
            written = own_texts(started)
        before = measure_texts(started, texts, measuring)
        for share in sorted({*SHARES, keep}):
            after, model = before, started  # nothing kept is the base, to the bit
            if share:
                put, _ = merged_networks(started.network, networks, replace(settings, keep=share))
                model = with_weights(started, put)
                after = measure_texts(model, texts, measuring)
            measured[share] = compare(before, after)
            if written:
                drifts[share] = drift(model, written, started.logits)
    put, lost = merged_networks(started.network, networks, settings)
    result, base_type = with_weights(started, put), dtype_name(started.network.dtype)
    facts = {
        "merged": {
            "way": way,
            "models": {str(one): identity(str(one)) for one in models},
            "base": {"reference": reference, "sha256": identity(reference)},
            "weights": list(settings.weights),
            "keep": keep,
            "dtype": dtype_name(result.network.dtype),
            "lost": {base_type: lost},
            **({"density": density} if way in ("ties", "dare") else {}),
            **({"seed": seed} if way == "dare" else {}),
        },
        "measurements": [{"kept": share, **figure.to_json()} for share, figure in _figures(measured, drifts)],
    }
    result.save(folder, facts)
    result.source, result.reference = folder, str(folder)
    if lost > MOST_LOST:
        taken = size(sum(file.stat().st_size for file in folder.glob("*.safetensors")))
        progress.note(f"{folder} is in float32 ({taken}): {base_type} would lose {lost:.0%} of what was learnt")
    return Merged(folder, result, settings, measured, drifts, lost)


def _figures(
    measured: Mapping[float, Sequence[TextComparison]], drifts: Mapping[float, Measurement]
) -> list[tuple[float, Measurement]]:
    """Each figure with the share that is kept, which its name says too."""
    figures = [
        (share, figure)
        for share, found in measured.items()
        for one in found
        for figure in (one.before, one.after, one.difference)
    ]
    return [(share, one.but(name=f"{one.name}, {share:.0%} kept")) for share, one in (*figures, *drifts.items())]


def base_of(reference: str) -> str:
    """What a model was made from, as its files say; ModelError where they do not, and for what is no model."""
    folder = resolve(reference)
    if is_adapter(folder) and (named := read_json(folder / CONFIG).get("base_model_name_or_path")):
        return str(named)
    said = read_facts(folder).get("base") if folder.is_dir() else None
    if isinstance(said, dict) and said.get("reference"):
        return str(said["reference"])
    raise ModelError(f"{reference} does not say what it was made from; give it with --base")


def _merged_network(reference: str, base: str | None, started: LanguageModel) -> Network:
    """A model's network, adapters merged into matrices of float32, which lose nothing of them. ModelError where it has
    other tensors than the base."""
    model = load(reference, compress="none", base=base if is_adapter(Path(reference)) else None)
    if has_adapters(model.network):
        must_merge(model.network)
        for layer in adapted_layers(model.network).values():
            layer.float()
        merge_adapters(model.network)
    found: dict[str, Tensor] = dict(model.network.state_dict())
    wanted: dict[str, Any] = dict(started.network.state_dict())
    shaped = sorted(name for name in found.keys() | wanted.keys() if _shape(found, name) != _shape(wanted, name))
    if shaped:
        raise ModelError(
            f"{reference} is of another shape than {started.reference} ({shaped[0]} is "
            f"{_shape(found, shaped[0]) or 'missing'} and not {_shape(wanted, shaped[0]) or 'there'}); models of one "
            "base can be merged"
        )
    if (other := _another(model.config, started.config)) is not None:
        ours, theirs = getattr(model.config, other), getattr(started.config, other)
        raise ModelError(
            f"{reference} is of another kind than {started.reference} ({other} is {ours!r} and not {theirs!r}); models "
            "of one base can be merged"
        )
    return model.network


def _another(config: ModelConfig, base: ModelConfig) -> str | None:
    """A setting by which weights of the same shapes mean something else: heads, or what a token sees, say."""
    if type(config) is not type(base):
        return "family"
    fields = type(base).model_fields.keys() - NO_MEANING
    return next((name for name in sorted(fields) if getattr(config, name) != getattr(base, name)), None)


def _shape(tensors: dict[str, Tensor], name: str) -> list[int] | None:
    return list(tensors[name].shape) if name in tensors else None


def with_weights(model: LanguageModel, tensors: dict[str, Tensor]) -> LanguageModel:
    """A model of the same kind with other weights."""
    network = copy.deepcopy(model.network)
    network.load_state_dict(tensors, assign=True)
    return model.beside(network.requires_grad_(False).eval())
