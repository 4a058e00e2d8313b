"""What a family file holds: a table of config keys and a table of tensor names, read in both directions here.

A family computes nothing. `Family.config_from` and `config_to` translate config.json; `tensors_from` and
`tensors_to` translate names, join the rows that our network keeps in one matrix, and split them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.config import MOST_LAYERS, ModelConfig

if TYPE_CHECKING:  # tables are read with every recipe, and what is wrong there should not wait for torch
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Our matrix is theirs below one another, in this order."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Transposed:
    """Our matrix is theirs turned: GPT-2 keeps [inputs, outputs]."""

    name: str


@dataclass(frozen=True)
class ByHead:
    """Our matrix has all queries, then all keys, then all values; theirs has each head's three together (GPT-NeoX)."""

    name: str


@dataclass(frozen=True)
class SingleRow:
    """Our vector is theirs' only row; zeros where a file leaves it out (the bias on the logits of BART and Marian)."""

    name: str


@dataclass(frozen=True)
class Gated:
    """Theirs has other names where the feed-forward is gated."""

    plain: str
    gated: Rows


Named = str | Rows | Transposed | ByHead | SingleRow
Source = Named | Gated

ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
}
THEIR_ACTIVATIONS = {"silu": "silu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu"}


@dataclass(frozen=True)
class Family:
    """One public architecture."""

    name: str
    """`model_type` in config.json."""
    architecture: str
    """The class that transformers loads it with."""
    settings: Mapping[str, str]
    """Ours <- theirs, taken over as it is."""
    tensors: Mapping[str, Source]
    """Ours <- theirs; `{i}` is the layer, `{e}` the expert."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Ours that this architecture always has so."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Theirs when config.json leaves them out; null in the file is a value of its own: not this."""
    required: Mapping[str, Any] = field(default_factory=dict)
    """Theirs that must have this value, as the network does not know another."""
    ignored: tuple[str, ...] = ()
    """Tensors that files carry and that hold nothing learned: masks, frequencies."""
    copies: Mapping[str, str] = field(default_factory=dict)
    """Other places of a tensor of the table -> its name there. transformers 5 shares them only if head and embedding
    are one matrix, and otherwise reads them from the file."""
    activations: Mapping[str, str] = field(default_factory=lambda: ACTIVATIONS)
    """Their names of the non-linearity -> ours."""
    more_from: Callable[[Mapping[str, Any], int], dict[str, Any]] | None = None
    """Ours where they say it in a way of their own, from their keys and the number of layers."""
    more_to: Callable[[ModelConfig], dict[str, Any]] | None = None
    """The way back; their value None takes a key out."""
    told: tuple[str, ...] = ("window", "window_layers")
    """Ours that `more_from` and `more_to` translate."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names that files have for a tensor -> the one in the table."""
    prefix: str = ""
    """What begins the names of the body's tensors, where files of the body alone leave it out."""
    partly_rotary: bool = False
    """Heads may be turned in part."""

    def config_from(self, theirs: Mapping[str, Any]) -> ModelConfig:
        """Our config from a config.json; ModelError where it asks for what the network does not do."""
        values = {key: value for key, value in {**self.defaults, **theirs}.items() if value is not None}
        for key, value in self.required.items():
            if values.get(key, value) != value:
                raise ModelError(
                    f"config.json: {key} = {values[key]!r} is not supported for {self.name} (only {value!r})"
                )
        ours = dict(self.fixed)
        for our_key, their_key in self.settings.items():
            if their_key in values:
                ours[our_key] = values[their_key]
        if "activation" in ours:
            if str(ours["activation"]) not in self.activations:
                raise ModelError(
                    f"config.json: the activation {ours['activation']!r} is not known; "
                    f"known are {', '.join(self.activations)}"
                )
            ours["activation"] = self.activations[ours["activation"]]
        if ours.get("positions", "rope") == "rope":
            ours |= rope_from(values, self.partly_rotary)
        layers = ours.get("layers")
        if self.more_from is not None and isinstance(layers, int) and layers <= MOST_LAYERS:
            try:
                ours |= self.more_from(values, layers)
            except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
                if isinstance(error, ModelError):
                    raise
                raise ModelError(
                    f"config.json of a {self.name} model holds values of the wrong kind ({error}); fetch it again"
                ) from None
        try:
            return ModelConfig(family=self.name, **ours)
        except ConfigError as error:
            raise ModelError(f"config.json of a {self.name} model: {error}") from None

    def config_to(self, config: ModelConfig) -> dict[str, Any]:
        """config.json for our config; ModelError where this architecture cannot express it."""
        theirs: dict[str, Any] = {"architectures": [self.architecture], "model_type": self.name}
        expressed = {"family", "rope_theta", "rope_scaling", *self.settings, *self.fixed}
        if self.more_to is not None:
            expressed |= set(self.told)
        default = {name: field.default for name, field in ModelConfig.model_fields.items()}
        default |= {"kv_heads": config.heads, "head_dim": config.dim // config.heads}
        for name in ModelConfig.model_fields:
            value, expected = getattr(config, name), self.fixed.get(name, default[name])
            if (name not in expressed or name in self.fixed) and value != expected and name not in self.settings:
                raise ModelError(
                    f"a {self.name} model cannot have {name} = {value!r}; choose another family to save it as"
                )
        if "head_dim" not in self.settings and config.dim % config.heads:
            raise ModelError(
                f"a {self.name} model cannot have dim {config.dim} and {config.heads} heads: its files know no other "
                "head_dim than dim / heads; choose another family to save it as"
            )
        for our_key, their_key in self.settings.items():
            value = getattr(config, our_key)
            if theirs.get(their_key, value) != value:
                raise ModelError(
                    f"a {self.name} model has one setting, {their_key}, where this one has two "
                    "values; choose another family to save it as"
                )
            theirs[their_key] = value
        written = THEIR_ACTIVATIONS.get(config.activation)
        if written is None or self.activations[written] != config.activation:
            raise ModelError(
                f"a {self.name} model cannot have the activation {config.activation!r} (its files have "
                "no name for it, or mean another one by it); choose another family to save it as"
            )
        theirs[self.settings["activation"]] = written
        if config.positions == "rope":
            theirs |= rope_to(config)
        if self.more_to is not None:
            theirs |= self.more_to(config)
        return {
            key: value
            for key, value in (theirs | dict(self.required)).items()
            if key not in self.settings.values() or value is not None
        }

    def by_table_name(self, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A file's tensors under the table's names, even where the file shortens or changes them."""
        if self.prefix and not any(name.startswith(self.prefix) for name in theirs):
            theirs = {self.prefix + name: tensor for name, tensor in theirs.items()}
        return {self.aliases.get(name, name): tensor for name, tensor in theirs.items()}

    def tensors_from(
        self,
        theirs: Mapping[str, Tensor],
        config: ModelConfig,
        dtype: torch.dtype | None = None,
        later: Callable[[str], bool] = lambda name: False,
    ) -> dict[str, Tensor]:
        """Our tensors from a file's; matrices that are wanted `later` as placeholders where the file has their rows in
        our order. ModelError naming the first that is missing or left over."""
        theirs = self.by_table_name(theirs)
        remaining = set(theirs)

        def take(name: str) -> Tensor:
            if name not in theirs:
                raise ModelError(
                    f"the tensor {name} is missing from the weights; the file is incomplete, "
                    f"or its config.json belongs to another model"
                )
            remaining.discard(name)
            return theirs[name]

        ours: dict[str, Tensor] = {}
        for name, source in each_name(self.tensors, config):
            if later(name) and isinstance(source, str | Rows):
                parts = [take(part) for part in (source.names if isinstance(source, Rows) else (source,))]
                if len({part.dtype for part in parts}) == 1 and {part.ndim for part in parts} == {2}:
                    ours[name] = _left_there(source, parts, dtype)
                    continue
            if isinstance(source, Rows | ByHead):
                tensor = rows_joined(source, lambda part: take(part).to(dtype) if dtype else take(part), config)
            elif isinstance(source, Transposed):
                tensor = take(source.name).T.contiguous()
            elif isinstance(source, SingleRow):
                found = source.name in theirs
                tensor = take(source.name).flatten() if found else ours["embedding.weight"].new_zeros(config.vocab_size)
            else:
                tensor = take(source)
            ours[name] = tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor
        self._check_tied_head(theirs, ours, config)
        self._check_copies(theirs)
        unexpected = sorted(name for name in remaining if not self._left_out(name, config))
        if unexpected:
            raise ModelError(
                f"the weights hold {unexpected[0]}, which a {self.name} model with this config.json does not "
                f"have ({len(unexpected)} such tensors); they would be lost silently, so nothing was loaded"
            )
        return ours

    def tensors_to(self, ours: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
        """The tensors of a file from ours."""
        theirs: dict[str, Tensor] = {}
        for name, source in each_name(self.tensors, config):
            if isinstance(source, Rows):
                parts = ours[name].split(rows_of(name, config), dim=0)
                theirs |= {part: rows.contiguous() for part, rows in zip(source.names, parts, strict=True)}
            elif isinstance(source, Transposed):
                theirs[source.name] = ours[name].T.contiguous()
            elif isinstance(source, ByHead):
                theirs[source.name] = _regrouped(ours[name], 3, config.heads)
            elif isinstance(source, SingleRow):
                theirs[source.name] = ours[name][None].contiguous()
            else:
                theirs[source] = ours[name].contiguous()
        if not config.tied:
            theirs |= {copy: theirs[name].clone() for copy, name in self.copies.items() if name in theirs}
        return theirs

    def _check_tied_head(self, theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], config: ModelConfig) -> None:
        """A file may hold a tied head beside its embedding; if the two differ, one of them would be lost."""
        head, embedding = theirs.get(str(self.tensors["head.weight"])), ours["embedding.weight"]
        if config.tied and head is not None and not _equal(head, embedding):
            raise ModelError(
                f"config.json says that head and embedding are one matrix, and {self.tensors['head.weight']} holds "
                "another one; set tie_word_embeddings to false there, or fetch the model again"
            )

    def _check_copies(self, theirs: Mapping[str, Tensor]) -> None:
        """What is one tensor here may be several in a file; if they differ, all but one would be lost."""
        for copy, name in self.copies.items():
            if copy in theirs and name in theirs and not theirs[copy].equal(theirs[name]):
                raise ModelError(
                    f"the weights hold another {copy} than {name}, and this network has one tensor for both; "
                    "not supported"
                )

    def _left_out(self, name: str, config: ModelConfig) -> bool:
        """Is it a tensor that carries nothing: a stored mask, or the copy of another?"""
        return (
            (bool(self.ignored) and name.endswith(self.ignored))
            or name in self.copies
            or (config.tied and name == self.tensors["head.weight"])
        )


def _left_there(source: str | Rows, parts: Sequence[Tensor], dtype: torch.dtype | None) -> Tensor:
    from lmworks.models.unread import below_one_another_later

    joined_shape(source.names if isinstance(source, Rows) else (source,), [part.shape for part in parts])
    return below_one_another_later(parts, dtype)


def _equal(theirs: Tensor, ours: Tensor) -> bool:
    """Whether a tensor of a file is ours, which may be a placeholder."""
    from lmworks.models.unread import pieces

    if theirs.shape != ours.shape:
        return False
    parts = zip(theirs.split(4096), pieces(ours, 4096), strict=True)
    return all(one.to(other.dtype).equal(other) for one, other in parts)


def _regrouped(matrix: Tensor, outer: int, inner: int) -> Tensor:
    """Rows that lie [outer, inner, ...] as [inner, outer, ...]; ModelError where they do not divide."""
    if len(matrix) % (outer * inner):
        raise ModelError(f"a joined matrix has {len(matrix):,} rows, which {outer} x {inner} parts do not share evenly")
    rows = len(matrix) // (outer * inner)
    parts = matrix.reshape(outer, inner, rows, *matrix.shape[1:])
    return parts.transpose(0, 1).reshape(matrix.shape).contiguous()


def each_name(table: Mapping[str, Source], config: ModelConfig) -> Iterator[tuple[str, Named]]:
    """Our tensor names with theirs, layer by layer and expert by expert, without those that this config lacks."""
    for ours, theirs in table.items():
        if not _absent(ours, config):
            layers = (config.encoder_layers or config.layers) if ours.startswith("encoder.") else config.layers
            named = _by_gate(theirs, config.gated)
            for layer in range(layers) if "{i}" in ours else (0,):
                if "feed_forward." in ours and not _in_layer(ours, config, layer):
                    continue
                at_layer = ours.replace("{i}", str(layer)), _numbered(named, "{i}", layer)
                if "{e}" not in ours:
                    yield at_layer
                    continue
                assert config.experts is not None
                for expert in range(config.experts.count):
                    yield at_layer[0].replace("{e}", str(expert)), _numbered(at_layer[1], "{e}", expert)


def rows_joined(source: str | Rows | ByHead, take: Callable[[str], Tensor], config: ModelConfig) -> Tensor:
    """Ours of what `take` gives by their name: the rows of a matrix, in our order."""
    if isinstance(source, Rows):
        return below_one_another(source.names, [take(name) for name in source.names])
    return take(source) if isinstance(source, str) else _regrouped(take(source.name), config.heads, 3)


def below_one_another(names: Sequence[str], parts: Sequence[Tensor]) -> Tensor:
    """The parts of a joined matrix as one; ModelError where they are not equally wide."""
    joined_shape(names, [part.shape for part in parts])
    import torch

    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def joined_shape(names: Sequence[str], shapes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The shape of the parts of a joined matrix as one; ModelError where they are not equally wide."""
    if len({tuple(shape[1:]) for shape in shapes}) > 1:
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in zip(names, shapes, strict=True))
        raise ModelError(f"the tensors {listed} belong to one layer and differ in their shapes; the file is damaged")
    return sum(shape[0] for shape in shapes), *shapes[0][1:]


def rows_of(name: str, config: ModelConfig) -> list[int]:
    """How many rows each part of a joined matrix has."""
    if ".attention.qkv." in name:
        return [config.heads * config.head_dim] + [config.kv_heads * config.head_dim] * 2
    if ".cross_attention.kv." in name:
        return [config.kv_heads * config.head_dim] * 2
    if ".feed_forward.experts." in name:
        return [config.expert_dim] * 2
    if ".feed_forward.shared." in name and config.experts is not None:
        return [config.experts.shared_dim] * 2
    return [config.hidden_dim] * 2


def _absent(name: str, config: ModelConfig) -> bool:
    name = name.removeprefix("encoder.") if config.arrangement == "encoder-decoder" else name
    return (
        name.startswith("encoder.")
        or (".cross_" in name and config.arrangement != "encoder-decoder")
        or (name in ("norm.weight", "norm.bias") and config.norm_place == "after")
        or _absent_norm(name, config)
        or _absent_head(name, config)
        or (name.startswith("ngram_embedding.") and not config.ngrams)
        or _absent_position(name, config)
        or (name.startswith("segment.") and not config.segments)
        or (name.endswith((".qkv.bias", ".query.bias", ".kv.bias")) and not config.qkv_bias)
        or (name.endswith("attention.output.bias") and not config.output_bias)
        or (".feed_forward." in name and name.endswith(".bias") and not config.feed_forward_bias)
    )


def _absent_position(name: str, config: ModelConfig) -> bool:
    """Does the name belong to another positional encoding than the config's?"""
    from lmworks.models.positions.encoding import encoding_of, encodings  # these load torch

    part, _, weight = name.partition(".")
    own = encoding_of(config)
    return part in {one.part_name for one in encodings().values()} and (
        part != own.part_name or weight not in own.weights
    )


def _absent_norm(name: str, config: ModelConfig) -> bool:
    if name.endswith(("query_norm.weight", "key_norm.weight")):
        return not config.qk_norm or not config.norm_weight
    if name.startswith("embedding_norm."):
        return config.embedding_norm != "layer"
    return (name.endswith("norm.bias") and config.norm != "layer") or (
        name.endswith("norm.weight") and (not config.norm_weight or config.norm == "none")
    )


def _absent_head(name: str, config: ModelConfig) -> bool:
    return (
        (name == "head.weight" and (config.tied or config.adaptive_cutoffs is not None))
        or (name in ("head.rank", "head.shortlist.weight") and config.adaptive_cutoffs is None)
        or (name.startswith("head.clusters.") and int(name.split(".")[2]) >= len(config.adaptive_cutoffs or ()))
        or (name.startswith("head_transform.") and not config.head_transform)
        or (name == "head_bias" and not config.head_bias)
        or (name.startswith("pooler.") and not config.pooler)
        or (name.startswith("classifier.") and not config.labels)
    )


def _by_gate(source: Source, gated: bool) -> Named:
    if isinstance(source, Gated):
        return source.gated if gated else source.plain
    return source


def _in_layer(name: str, config: ModelConfig, layer: int) -> bool:
    """Has the feed-forward of this layer, which may be one of experts, the tensor?"""
    part = name.partition("feed_forward.")[2]
    experts = config.experts if config.has_experts(layer) else None
    if experts is None:
        return part.startswith(("up.", "down."))
    return (
        part == "router.weight"
        or (part == "router.lifts" and experts.bias_rate > 0)
        or part.startswith("experts.")
        or (part.startswith("shared.") and experts.shared_dim > 0)
        or (part.startswith("shared_gate.") and experts.shared_gate)
    )


def _numbered(source: Named, place: str, number: int) -> Named:
    """The names with the number of a layer or an expert in its place."""
    if isinstance(source, Rows):
        return Rows(tuple(name.replace(place, str(number)) for name in source.names))
    if isinstance(source, Transposed | ByHead | SingleRow):
        return replace(source, name=source.name.replace(place, str(number)))
    return source.replace(place, str(number))


ROPE_SCALING = {  # ours                   <- theirs
    "factor": "factor",
    "original_context": "original_max_position_embeddings",
    "attention_factor": "attention_factor",
    "fast_turns": "beta_fast",
    "slow_turns": "beta_slow",
    "low_frequency_factor": "low_freq_factor",
    "high_frequency_factor": "high_freq_factor",
}


def rope_from(theirs: Mapping[str, Any], partly: bool = False) -> dict[str, Any]:
    """Rotary settings from either spelling: `rope_parameters`, or `rope_theta` with `rope_scaling`.

    Where heads may be turned `partly`, the number of turned dimensions is read elsewhere.
    """
    parameters = {"rope_theta": theirs.get("rope_theta")}
    for name in ("rope_scaling", "rope_parameters"):
        table = theirs.get(name) or {}
        if not isinstance(table, dict) or any(isinstance(value, dict) for value in table.values()):
            raise ModelError(
                f"config.json: {name} is not one table of rotary settings; a table for each kind "
                "of layer is not supported"
            )
        parameters |= {key: value for key, value in table.items() if value is not None}
    ours: dict[str, Any] = {} if parameters["rope_theta"] is None else {"rope_theta": parameters["rope_theta"]}
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind not in ("default", "linear", "dynamic", "yarn", "llama3"):
        raise ModelError(
            f"config.json: rotary scaling of type {kind!r} is not known; known are linear, dynamic, yarn, llama3"
        )
    if (
        "mscale_all_dim" in parameters
        or parameters.get("truncate") is False
        or (not partly and parameters.get("partial_rotary_factor", 1) != 1)
    ):
        raise ModelError(
            "config.json: rotary settings with mscale_all_dim, truncate = false or a "
            "partial_rotary_factor other than 1 are not supported"
        )
    if kind != "default":
        known = {our_key: parameters[key] for our_key, key in ROPE_SCALING.items() if key in parameters}
        if kind == "dynamic":  # transformers stretches from max_position_embeddings, whatever is said here
            known.pop("original_context", None)
        ours["rope_scaling"] = {"kind": kind, **known}
    return ours


def rope_to(config: ModelConfig) -> dict[str, Any]:
    """`rope_theta` and `rope_scaling`: the spelling that old and new readers understand."""
    theirs: dict[str, Any] = {"rope_theta": config.rope_theta}
    scaling = config.rope_scaling
    if scaling is not None and scaling.kind == "dynamic" and scaling.original_context not in (None, config.context):
        raise ModelError(
            f"rope_scaling.original_context ({scaling.original_context}) of dynamic scaling is context "
            f"({config.context}) in public files; leave it out, or choose the family lmworks"
        )
    if config.rope_scaling is not None:
        values = config.rope_scaling.model_dump(exclude_none=True, exclude_defaults=True)
        theirs["rope_scaling"] = {"rope_type": values.pop("kind")} | {
            ROPE_SCALING[key]: value for key, value in values.items()
        }
        if config.rope_scaling.kind == "llama3":
            theirs["rope_scaling"] |= {
                "low_freq_factor": config.rope_scaling.low_frequency_factor,
                "high_freq_factor": config.rope_scaling.high_frequency_factor,
            }
    return theirs
