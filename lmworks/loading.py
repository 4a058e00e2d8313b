"""load: any model reference as a LanguageModel, adapters included; load_tokenizer: its tokenizer, or one without a
model; facts_of: what a model is and how it will run, without its weights.

model = load("smollm2")                  # an alias, a directory, a .gguf file, hf:org/name
model = load("models/python-reference")  # an adapter that lmworks or PEFT made, on its base
add_adapter(model, "notes", "models/notes")  # one of several beside a model: model.generate(prompt, adapter="notes")
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lmworks.adaptation.adapter_files import CONFIG, NF4_GRID, is_adapter, kept_files
from lmworks.basics.arguments import checked
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.basics.files import as_reference, restore_directory, sha256_once
from lmworks.encoding.classifying import classifies
from lmworks.kernels import keeping
from lmworks.kernels.choice import Way, check_compress, default_bits, foreseen
from lmworks.kernels.footprint import Footprint
from lmworks.kernels.run.weights import is_multiplied
from lmworks.language_model import LanguageModel
from lmworks.models.config import ModelConfig, RopeScaling
from lmworks.models.families import family_of
from lmworks.models.files import references
from lmworks.models.files.gguf_file import GGUFFile, first_part
from lmworks.models.files.gguf_vocabulary import gguf_tokenizer
from lmworks.models.files.model_folder import (
    CTRANSLATE2,
    EFFICIENTNET,
    is_hearing,
    is_vision,
    read_config,
    read_facts,
    read_json,
)
from lmworks.models.files.references import ALIASES, resolve
from lmworks.models.hearing.config import hears
from lmworks.models.vision.config import reads_images
from lmworks.models.vision.image_tokens_config import ImageTokensConfig
from lmworks.seeing_model import SeeingModel, sees
from lmworks.text import hub
from lmworks.tokens.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch

    from lmworks.models.network import Network


@checked
def load(
    reference: str | os.PathLike[str],
    *,
    base: str | os.PathLike[str] | None = None,
    dtype: str | torch.dtype | None = None,
    device: str = "cpu",
    compress: str | None = None,
    rope_scaling: RopeScaling | None = None,
    grid: str | None = None,
) -> LanguageModel:
    """Load a model; a folder with an adapter is put on its base (the one it names, or `base`).

    `compress` is int4, int8, bf16 or none; `rope_scaling` makes the context longer (`LanguageModel.load`). An adapter
    is frozen, and runs beside its base's weights as these do. ModelError where the base is not the file that the
    adapter was trained on. `grid="nf4"` rounds the matrices to NF4, so that adapters that were trained on these values
    can stand beside them (`add_adapter`): the model itself then is the rounded one.
    """
    check_compress(compress, dtype)
    if grid not in (None, NF4_GRID):
        raise ConfigError(f"grid is {grid!r}, and it is {NF4_GRID}, or left out for the values of the model's files")
    if device != "cpu":
        from lmworks.models.precision import must_be_device

        must_be_device(device)
    folder = Path(reference)
    restore_directory(folder)
    if not is_adapter(folder):
        if base is not None:
            raise ModelError(
                f"{reference} holds no adapter, which the base {base} would be for; give an adapter's folder"
            )
        kind = _kind_of(resolve(str(reference)))
        if grid is None:
            return kind.load(reference, dtype=dtype, device=device, compress=compress, rope_scaling=rope_scaling)
        model = kind.load(reference, dtype=dtype, device=device, compress="none", rope_scaling=rope_scaling)
        return _rounded(model, compress)
    if grid is not None:
        raise ConfigError(f"{reference} holds an adapter, which says what its base is rounded to; leave grid out")
    named = as_reference(base) or _base_of(folder)
    if sees(folder):
        how = {"dtype": dtype, "device": device, "compress": compress, "rope_scaling": rope_scaling}
        seeing = SeeingModel.load_reader(folder, named, **how)
        if base is None:
            _check_base(folder, seeing.source)
        seeing.source, seeing.reference = folder, str(reference)
        return seeing
    kind = text_kind(named)
    # What is packed of a base serves no adapter that PyTorch runs, or that changes it.
    files = kept_files(folder) if dtype is None else []
    model = kind.load(
        named, dtype=dtype, device=device, compress=compress if files else "none", rope_scaling=rope_scaling
    )
    if base is None:
        _check_base(folder, model.source)

    def put(network: Network) -> None:
        import torch

        from lmworks.adaptation.reading import put_adapter

        with torch.inference_mode(False):  # whoever asks may be in it, and weights must tell of changes
            put_adapter(folder, network).requires_grad_(False)

    if dtype is None:
        model.put_adapter(put, compress, folder, files)
    else:
        put(model.network)
    model.source, model.reference = folder, str(reference)
    return model


def _rounded(model: LanguageModel, compress: str | None) -> LanguageModel:
    """The model with its matrices rounded to NF4. ConfigError for one that no such adapters can stand beside."""
    import torch

    from lmworks.adaptation.lora import adaptable
    from lmworks.adaptation.nf4 import round_to_nf4

    if not isinstance(model, LanguageModel) or learns_no_text(model.config) is not None or not adaptable(model.network):
        raise ConfigError(f"grid is {NF4_GRID}, and {model.reference} is nothing that adapters learn text beside")
    with torch.inference_mode(False):
        round_to_nf4(model.network)
    if not model.exact:
        model.choose_runner(compress)
    return model


def _kind_of(path: Path) -> type[LanguageModel]:
    """What stands for a model of this folder or file; what reads images takes a while to import."""
    if path.is_file() and not is_vision(path):
        return LanguageModel
    if is_hearing(path):
        from lmworks.hearing_model import HearingModel

        return HearingModel
    if not is_vision(path):
        return text_kind(path)
    from lmworks.image_tokens import ImageTokens, is_image_tokens
    from lmworks.vision_model import VisionModel

    return ImageTokens if is_image_tokens(path) else VisionModel


def must_learn_text(reference: str) -> ModelConfig | None:
    """ConfigError for a model that cannot be adapted to text, ModelError for a name of nothing: what every job asks
    before it reads its text. Returns the config by which it is told; None where that is fetched with the weights."""
    references.must_be_somewhere(reference)
    config = _config_ahead(reference)
    if config is not None and (why := learns_no_text(config)):
        raise ConfigError(f"{reference} {why}")
    return config


def learns_no_text(config: ModelConfig) -> str | None:
    """Why a model of this config cannot be adapted to text, to stand after its name; None for one that can."""
    if isinstance(config, ImageTokensConfig):
        return "writes images as tokens, and learns no text; `lmworks draw` uses it within a model that draws"
    if hears(config):
        return "writes down what recordings say, and learns no text; `lmworks transcribe` uses it"
    if reads_images(config):
        return "reads images, and learns no text; `lmworks embed` and `lmworks classify` use it"
    if config.arrangement == "encoder":
        use = "classify" if config.labels else "embed"
        return (
            f"is an encoder and does not write or score text token by token, so it learns none; `lmworks {use}` uses it"
        )
    if config.arrangement == "encoder-decoder":
        return (
            "is an encoder-decoder, which makes a target of a source and does not go on with a text, so it learns "
            "none; `lmworks generate` uses it"
        )
    return None


def _config_ahead(reference: str) -> ModelConfig | None:
    if reference.startswith(hub.PREFIX):
        return read_config(hub.snapshot(reference, "model", references.CONFIGS))
    path = Path(reference) if ":" not in reference else resolve(reference)
    if reference in ALIASES:
        path = references.place(reference)
        if not path.exists():
            said = references.config_ahead(reference)
            return None if said is None else family_of(said.get("model_type")).config_from(said)
    return Footprint.of(path).config if path.is_file() else read_config(path)


def reads_images_ahead(reference: str) -> bool | None:
    """Whether a reference is a model of images, told without its weights; None where that is fetched with them.
    ModelError for a name of nothing."""
    references.must_be_somewhere(reference)
    if is_adapter(Path(reference)):
        return False
    config = _config_ahead(reference)
    return None if config is None else reads_images(config)


def text_kind(reference: str | os.PathLike[str]) -> type[LanguageModel]:
    """What stands for a model of text: one that draws too, where its folder holds what images are written by."""
    from lmworks.drawing_model import DrawingModel, draws

    return DrawingModel if draws(resolve(str(reference))) else LanguageModel


@checked
def add_adapter(model: LanguageModel, name: str, folder: str | os.PathLike[str]) -> None:
    """Put an adapter beside a model under a name that `generate`, `score` and `embed` take: `adapter="notes"`. Texts
    that name none are the model's own, and the model's weights are there once, however many adapters it has.

    Adapters of LoRA and DoRA, of any rank, bottlenecks and trained prompts can stand beside one another, and those of
    QLoRA on NF4 beside a base that was loaded on that (`load`, `grid`). ModelError for another kind, and for one that
    was trained on other weights; ConfigError for a name that is taken. Nothing is changed then.
    """
    from lmworks.adaptation.router import kinds_in
    from lmworks.adaptation.several import must_be_beside, put_beside

    folder = Path(folder)
    must_be_beside(folder)
    _check_base(folder, model.source)
    kinds = kinds_in(folder)
    model.take_adapters(lambda: put_beside(model.network, name, folder))
    model.kinds[name] = kinds


@dataclass(frozen=True)
class Facts:
    """What a model is and how it will run, read from its files without the weights."""

    family: str
    parameters: int
    context: int
    """Tokens that it reads."""
    way: Way
    classes: tuple[str, ...] = ()
    """What it tells texts or images apart by (`lmworks classify`)."""


def facts_of(reference: str | os.PathLike[str]) -> Facts:
    """What `load` will make of a reference; of an adapter, of its base with the adapter on. Where it will refuse it for
    its files or its size, its way says so."""
    from lmworks.models.files.directory import parameters

    named = _network_reference(str(reference))
    path = resolve(named)
    found = Footprint.of(path)
    config, size = found.config, parameters(found.config)
    try:
        must_be_whole(path, config)
        found.must_fit(named, default_bits(config))
        way = foreseen(config, found.few_bits, size, found.rounded)
    except ModelError as refusal:
        way = Way(False, f"refused: {refusal}", refused=True)
    tells = reads_images(config) or classifies(config)
    return Facts(config.family, size, config.context, way, getattr(config, "labels", ()) if tells else ())


def must_be_whole(path: Path, config: ModelConfig) -> None:
    """ModelError for the files of a model that `load` would refuse, in its words: a tokenizer that is missing or
    damaged, weights that are not those of its config. No matrix is read."""
    import torch

    from lmworks.models.files.directory import must_be_read
    from lmworks.models.files.gguf import read_gguf_network

    if path.suffix == ".gguf":
        read_gguf_network(GGUFFile(path), torch.float32, lambda config: is_multiplied)
    else:
        must_be_read(path)
    if not reads_images(config):
        load_tokenizer(str(path))


def network_path(reference: str, base: str | None = None) -> Path:
    """Where the network of a reference is: of an adapter, its base (the one that it names, or `base`)."""
    return resolve(_network_reference(reference, base))


def _network_reference(reference: str, base: str | None = None) -> str:
    path = resolve(reference)
    return _network_reference(base or _base_of(path)) if is_adapter(path) else reference


def forget(reference: str) -> list[tuple[Path, int]]:
    """Remove what lmworks keeps of a model and can make again, its packed weights and what was fetched for an alias;
    what was removed, and its bytes. No file of the user's own is removed, and it may be gone already. ModelError for a
    reference to nothing."""
    path = references.place(reference)
    removed = [removed for source in dict.fromkeys((path, first_part(path))) for removed in keeping.forget(source)]
    removed += references.forget(reference)
    if not removed and reference not in ALIASES:
        resolve(reference)
    return removed


def _base_of(folder: Path) -> str:
    """What an adapter's folder calls its base."""
    named = read_json(folder / CONFIG).get("base_model_name_or_path")
    if not named:
        raise ModelError(f"{folder / CONFIG} does not name its base model; give it with --base")
    if is_adapter(Path(str(named))):
        raise ModelError(
            f"{folder / CONFIG} names {named} as its base model, which is an adapter too; give a whole model"
        )
    return str(named)


def load_tokenizer(reference: str) -> Tokenizer:
    """The tokenizer of a folder that holds nothing else, or of any model reference; weights are not read."""
    folder = Path(reference)
    if any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        return Tokenizer.load(folder)
    path = resolve(reference)
    return gguf_tokenizer(GGUFFile(path)) if path.suffix == ".gguf" else Tokenizer.load(path)


def fingerprint(source: Path) -> str:
    """SHA-256 of a model's weights: of the file, or of all files of weights of the directory."""
    if source.is_file():
        return sha256_once(source)
    import hashlib

    kinds = ("*.safetensors", "*.onnx", CTRANSLATE2, EFFICIENTNET)
    files = next(filter(None, (sorted(source.glob(kind)) for kind in kinds)), [])
    return hashlib.sha256("".join(sha256_once(file) for file in files).encode()).hexdigest()


def files_digest(source: Path) -> str:
    """SHA-256 of what lies beside a model's weights in its directory: config, tokenizer, template. Empty for a file."""
    import hashlib

    if source.is_file():
        return ""
    beside = [one for one in sorted(source.iterdir()) if one.suffix in {".json", ".jinja", ".txt", ".model"}]
    beside += sorted(source.glob("[0-9]_*/*"))  # what sentence-transformers does with the network's states
    return hashlib.sha256(
        "".join(f"{one.relative_to(source)} {sha256_once(one)}\n" for one in beside).encode()
    ).hexdigest()


def identity(reference: str) -> str:
    """SHA-256 of all that decides what a model computes: its weights, what lies beside them, and an adapter's base. An
    alias has that of its files as they were fetched, so that nothing is read."""
    import hashlib

    path = resolve(reference)
    if reference in ALIASES:
        return ALIASES[reference].member_sha256
    parts = [fingerprint(path), files_digest(path), identity(_base_of(path)) if is_adapter(path) else ""]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def base_among(folder: Path, references: Sequence[str]) -> str:
    """The one of these models that an adapter was trained on: by the SHA-256 of the weights where its folder has it,
    else by the name that it gives its base; of a single model, that one. ModelError where none is."""
    from lmworks.adaptation.several import must_be_beside

    must_be_beside(folder)
    expected, said = _trained_on(folder), read_json(folder / CONFIG).get("base_model_name_or_path")
    if expected is not None:
        fits = [one for one in references if fingerprint(network_path(one)) == expected]
    else:
        fits = [one for one in references if said and one == said] or _at_one_place(str(said), references)
        fits = fits or ([*references] if len(references) == 1 else [])
    if not fits:
        why = "" if expected is None else " (the SHA-256 of its base's weights is another)"
        raise ModelError(
            f"{folder} was trained on {said or 'a model that it does not name'}, and not on "
            f"{' or '.join(references)}{why}; serve its base, or leave the adapter out"
        )
    return fits[0]


def _at_one_place(said: str, references: Sequence[str]) -> list[str]:
    try:
        place = resolve(said)
    except ModelError:
        return []
    return [one for one in references if resolve(one) == place]


def _trained_on(folder: Path) -> str | None:
    """The SHA-256 of the weights that an adapter was trained on, where its folder says it."""
    trained_on = read_facts(folder).get("base")
    return trained_on.get("sha256") if isinstance(trained_on, dict) else None


def must_belong(adapter: str, reference: str) -> None:
    """ModelError for an adapter's folder that was trained on other weights than those of a reference."""
    restore_directory(Path(adapter))
    if is_adapter(Path(adapter)):
        _check_base(Path(adapter), network_path(reference))


def _check_base(folder: Path, source: Path | None) -> None:
    """An adapter on other weights than its own answers worse and says nothing."""
    expected = _trained_on(folder)
    if source is not None and is_adapter(source):
        raise ModelError(
            f"{source} is an adapter itself, and {folder} was trained on another model; put both beside their base, "
            "each with a name (--adapter NAME=DIR, lm.add_adapter)"
        )
    if expected and source is not None and fingerprint(source) != expected:
        raise ModelError(
            f"{folder} was trained on other weights than {source} holds now (their SHA-256 differs); "
            "give the right base with --base, or build it again"
        )
