"""What a family file holds: a table of config keys and a table of tensor names, read in both directions here.

A family computes nothing. `Family.config_from` and `config_to` translate config.json; `tensors_from` and
`tensors_to` translate names, join the rows that our network keeps in one matrix, and split them again.
"""

from __future__ import annotations

import math
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
class NeighbourRows:
    """Our query, key and value are theirs below one another, but each head of their query and key turns neighbours,
    dimension 2 i against 2 i + 1 (Cohere, GLM), and ours dimension i against i + half: rows are put in our order."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Transposed:
    """Our matrix is theirs turned: GPT-2 keeps [inputs, outputs]."""

    name: str


@dataclass(frozen=True)
class ByHead:
    """Our matrix has all queries, then all keys, then all values; theirs has each key head's queries, key and value
    together (GPT-NeoX, BLOOM, Falcon)."""

    name: str


@dataclass(frozen=True)
class Ordered:
    """Our matrix has theirs' rows in another order."""

    name: str
    order: Callable[[ModelConfig], Tensor]
    """Where each of our rows is in theirs."""


@dataclass(frozen=True)
class OfExperts:
    """Our matrix or bias of one expert is a part of theirs of all."""

    name: str
    turned: bool = True
    """Theirs is [experts, inputs, outputs] (gpt-oss) and not [experts, outputs, inputs] (Granite)."""
    neighbours: bool = False
    """Gate and up are neighbours there, and halves in ours."""
    expert: int = 0


@dataclass(frozen=True)
class SingleRow:
    """Our vector is theirs' only row; zeros where a file leaves it out (the bias on the logits of BART and Marian)."""

    name: str


@dataclass(frozen=True)
class Chosen:
    """Theirs has other names, or another order, in some networks."""

    by: Callable[[ModelConfig], object]
    """Is it one of these? A truth value."""
    then: Named
    otherwise: Named


Named = str | Rows | NeighbourRows | Transposed | ByHead | Ordered | OfExperts | SingleRow
Source = Named | Chosen

OWN_TYPE = (".keys", ".rank", ".lifts", ".choice_bias")
"""Endings of tensors that keep their type whatever that of the weights is."""
ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu_squared",
}
THEIR_ACTIVATIONS = {
    "silu": "silu",
    "gelu": "gelu",
    "gelu_tanh": "gelu_pytorch_tanh",
    "relu": "relu",
    "relu_squared": "relu2",
    "xielu": "xielu",
}


@dataclass(frozen=True)
class Family:
    """One public architecture."""

    name: str
    """`model_type` in config.json."""
    architecture: str
    """The class that transformers loads it with; of one with several, that of the body."""
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
    constants: Mapping[str, float] = field(default_factory=dict)
    """Tensors of each layer that files carry and that always hold this number; `{i}` is the layer."""
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
    key_aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names that config.json has for a key -> the one in the table."""
    prefix: str = ""
    """What begins the names of the body's tensors, where files of the body alone leave it out; "model." of decoders
    that begin with it."""
    further_layers: str = ""
    """What begins the names of layers that files may have after the last, and that are left out (DeepSeek-V3's, which
    predict further tokens)."""
    whole: Mapping[str, str | None] = field(default_factory=dict)
    """Beginnings of names in files of a larger model that this one is a part of -> those in the table; None for those
    of its other parts."""
    partly_rotary: bool = False
    """Heads may be turned in part."""
    rotary_by_kind: bool = False
    """Layers with a window may have rotary settings of their own."""
    examples: tuple[str, ...] = ()
    """Public models of this architecture, for docs/models.md."""
    usual: Mapping[str, Any] = field(default_factory=dict)
    """Theirs where these models differ from the defaults in what decides that page."""

    def config_from(self, theirs: Mapping[str, Any]) -> ModelConfig:
        """Our config from a config.json; ModelError where it asks for what the network does not do."""
        named = {self.key_aliases.get(key, key): value for key, value in theirs.items()}
        values = {key: value for key, value in {**self.defaults, **named}.items() if value is not None}
        for key, value in self.required.items():
            if values.get(key, value) != value:
                raise ModelError(
                    f"config.json: {key} = {values[key]!r} is not supported for {self.name} (only {value!r})"
                )
        ours = dict(self.fixed)
        for our_key, their_key in self.settings.items():
            if their_key in values:
                ours[our_key] = values[their_key]
        if "activation" in self.settings and "activation" in ours:
            if str(ours["activation"]) not in self.activations:
                raise ModelError(
                    f"config.json: the activation {ours['activation']!r} is not known; "
                    f"known are {', '.join(self.activations)}"
                )
            ours["activation"] = self.activations[ours["activation"]]
        if ours.get("positions", "rope") == "rope":
            ours |= rope_from(values, self.partly_rotary, self.rotary_by_kind)
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
        default |= {"kv_heads": config.heads, "head_dim": config.dim // config.heads, "hidden_dim": 4 * config.dim}
        if (kind := config.position_declaration.settings) is not None:
            default["position_settings"] = kind()
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
        if "activation" in self.settings:
            theirs[self.settings["activation"]] = self._written(config.activation)
        if config.positions == "rope":
            theirs |= rope_to(config)
        if self.more_to is not None:
            theirs |= self.more_to(config)
        return {
            key: value
            for key, value in (theirs | dict(self.required)).items()
            if key not in self.settings.values() or value is not None
        }

    def _written(self, activation: str) -> str:
        """Their name of a non-linearity."""
        written = THEIR_ACTIVATIONS.get(activation)
        if written is None or self.activations.get(written) != activation:
            raise ModelError(
                f"a {self.name} model cannot have the activation {activation!r} (its files have "
                "no name for it, or mean another one by it); choose another family to save it as"
            )
        return written

    def by_table_name(self, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A file's tensors under the table's names, even where the file shortens or changes them."""
        for begin, ours in self.whole.items():
            theirs = {
                (ours or "") + name.removeprefix(begin) if name.startswith(begin) else name: tensor
                for name, tensor in theirs.items()
                if ours is not None or not name.startswith(begin)
            }
        prefix = self.prefix or (
            "model." if self.tensors.get("embedding.weight") == "model.embed_tokens.weight" else ""
        )
        if prefix and not any(name.startswith(prefix) for name in theirs):
            theirs = {prefix + name: tensor for name, tensor in theirs.items()}
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

        from lmworks.models.unread import present  # it loads torch

        def named(name: str) -> Tensor:
            if name not in theirs:
                raise ModelError(
                    f"the tensor {name} is missing from the weights; the file is incomplete, "
                    f"or its config.json belongs to another model"
                )
            remaining.discard(name)
            return theirs[name]

        def take(name: str) -> Tensor:
            return present(named(name))

        ours: dict[str, Tensor] = {}
        for name, source in each_name(self.tensors, config):
            if later(name) and isinstance(source, str | Rows):
                parts = [named(part) for part in (source.names if isinstance(source, Rows) else (source,))]
                if len({part.dtype for part in parts}) == 1 and {part.ndim for part in parts} == {2}:
                    ours[name] = _left_there(source, parts, dtype)
                    continue
            if isinstance(source, Rows | NeighbourRows | ByHead):
                tensor = rows_joined(source, lambda part: take(part).to(dtype) if dtype else take(part), config)
            elif isinstance(source, Transposed):
                tensor = take(source.name).T.contiguous()
            elif isinstance(source, Ordered):
                tensor = _in_order(source.name, take(source.name), source.order(config))
            elif isinstance(source, OfExperts):
                tensor = _of_one_expert(source, take(source.name), config)
            elif isinstance(source, SingleRow):
                found = source.name in theirs
                tensor = take(source.name).flatten() if found else ours["embedding.weight"].new_zeros(config.vocab_size)
            else:
                tensor = take(source)
            changes = dtype is not None and tensor.is_floating_point() and not name.endswith(OWN_TYPE)
            ours[name] = tensor.to(dtype) if changes else tensor
        self._check_tied_head(theirs, ours, config)
        self._check_copies(theirs)
        remaining -= self._checked_constants(theirs, config)
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
        of_experts: dict[str, list[Tensor]] = {}
        for name, source in each_name(self.tensors, config):
            if isinstance(source, Rows | NeighbourRows):
                parts = list(ours[name].split(rows_of(name, config), dim=0))
                if isinstance(source, NeighbourRows):
                    parts[:2] = (part[halves_of_neighbours(part, config).argsort()] for part in parts[:2])
                theirs |= {part: rows.contiguous() for part, rows in zip(source.names, parts, strict=True)}
            elif isinstance(source, Transposed):
                theirs[source.name] = ours[name].T.contiguous()
            elif isinstance(source, ByHead):
                theirs[source.name] = by_key_head(ours[name], config)
            elif isinstance(source, Ordered):
                theirs[source.name] = ours[name][source.order(config).argsort()]
            elif isinstance(source, OfExperts):
                of_experts.setdefault(source.name, []).append(_as_of_all(source, ours[name]))
            elif isinstance(source, SingleRow):
                theirs[source.name] = ours[name][None].contiguous()
            else:
                theirs[source] = ours[name].contiguous()
        theirs |= {name: stacked(parts) for name, parts in of_experts.items()}
        if not config.tied:
            theirs |= {copy: theirs[name].clone() for copy, name in self.copies.items() if name in theirs}
        return theirs | {
            name: ours["embedding.weight"].new_tensor(value) for name, value in self._each_constant(config)
        }

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

    def _each_constant(self, config: ModelConfig) -> Iterator[tuple[str, float]]:
        for name, value in self.constants.items():
            for layer in range(config.layers):
                yield name.replace("{i}", str(layer)), value

    def _checked_constants(self, theirs: Mapping[str, Tensor], config: ModelConfig) -> set[str]:
        """The names of constants that the file holds; ModelError where one is another number."""
        found = {name: value for name, value in self._each_constant(config) if name in theirs}
        for name, value in found.items():
            if theirs[name].numel() != 1 or abs(theirs[name].item() - value) > 0.01 * abs(value):
                raise ModelError(f"the weights hold another {name} than {value:g}, which is not supported")
        return set(found)

    def _is_further(self, name: str, config: ModelConfig) -> bool:
        number = name.removeprefix(self.further_layers).partition(".")[0]
        further = bool(self.further_layers) and name.startswith(self.further_layers) and number.isdecimal()
        return further and int(number[:9]) >= config.layers

    def _left_out(self, name: str, config: ModelConfig) -> bool:
        """Is it a tensor that carries nothing: a stored mask, or the copy of another?"""
        return (
            (bool(self.ignored) and name.endswith(self.ignored))
            or name in self.copies
            or self._is_further(name, config)
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
    parts = zip(pieces(theirs, 4096), pieces(ours, 4096), strict=True)
    return all(one.to(other.dtype).equal(other) for one, other in parts)


def _regrouped(matrix: Tensor, outer: int, inner: int) -> Tensor:
    """Rows that lie [outer, inner, ...] as [inner, outer, ...]; ModelError where they do not divide."""
    if len(matrix) % (outer * inner):
        raise ModelError(f"a joined matrix has {len(matrix):,} rows, which {outer} x {inner} parts do not share evenly")
    rows = len(matrix) // (outer * inner)
    parts = matrix.reshape(outer, inner, rows, *matrix.shape[1:])
    return parts.transpose(0, 1).reshape(matrix.shape).contiguous()


def by_key_head(matrix: Tensor, config: ModelConfig) -> Tensor:
    """Each key head's queries, key and value together, of a matrix that has all queries, all keys, all values."""
    import torch

    query, key, value = (
        part.unflatten(0, (config.kv_heads, -1)) for part in matrix.split(rows_of(".attention.qkv.", config))
    )
    return torch.cat([query, key, value], dim=1).flatten(0, 1)


def by_kind(matrix: Tensor, config: ModelConfig) -> Tensor:
    """The way back; ModelError where there are not as many rows."""
    import torch

    rows = rows_of(".attention.qkv.", config)
    if len(matrix) != sum(rows):
        raise ModelError(f"a joined matrix of query, key and value has {len(matrix):,} rows, and not {sum(rows):,}")
    parts = matrix.unflatten(0, (config.kv_heads, -1)).split([one // config.kv_heads for one in rows], dim=1)
    return torch.cat([part.flatten(0, 1) for part in parts])


def _in_order(name: str, matrix: Tensor, order: Tensor) -> Tensor:
    """Rows in another order; ModelError where there are not as many."""
    if len(matrix) != len(order):
        raise ModelError(f"{name} has {len(matrix):,} rows, and config.json asks for {len(order):,}")
    return matrix[order]


def _of_one_expert(source: OfExperts, every: Tensor, config: ModelConfig) -> Tensor:
    """One expert's share of a tensor of all; ModelError where it is not of as many."""
    assert config.experts is not None
    odd = source.neighbours and every.ndim > 0 and every.shape[-1] % 2
    if every.ndim not in (2, 3) or len(every) != config.experts.count or odd:
        raise ModelError(
            f"{source.name} has the shape {list(every.shape)}, which {config.experts.count} experts do not share"
        )
    part = every[source.expert]
    part = part.T if source.turned and part.ndim == 2 else part
    return (part.unflatten(0, (-1, 2)).transpose(0, 1).flatten(0, 1) if source.neighbours else part).contiguous()


def _as_of_all(source: OfExperts, part: Tensor) -> Tensor:
    """One expert's share as it lies among those of all."""
    part = part.unflatten(0, (2, -1)).transpose(0, 1).flatten(0, 1) if source.neighbours else part
    return part.T if source.turned and part.ndim == 2 else part


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """Tensors of one shape, one after another."""
    import torch

    return torch.stack(list(parts))


def each_name(table: Mapping[str, Source], config: ModelConfig) -> Iterator[tuple[str, Named]]:
    """Our tensor names with theirs, layer by layer and expert by expert, without those that this config lacks."""
    for ours, theirs in table.items():
        if not _absent(ours, config):
            layers = (config.encoder_layers or config.layers) if ours.startswith("encoder.") else config.layers
            named = _chosen(theirs, config)
            for layer in range(layers) if "{i}" in ours else (0,):
                if ".attention_norm." in ours and layer == 0 and not config.first_norm:
                    continue
                if "feed_forward." in ours and not _in_layer(ours, config, layer):
                    continue
                if ".attention." in ours and (_part_of_attention(ours) in CONVOLUTION) is not config.convolves(layer):
                    continue
                at_layer = ours.replace("{i}", str(layer)), _numbered(named, "{i}", layer)
                if "{e}" not in ours:
                    yield at_layer
                    continue
                assert config.experts is not None
                for expert in range(config.experts.count):
                    yield at_layer[0].replace("{e}", str(expert)), _numbered(at_layer[1], "{e}", expert)


def rows_joined(
    source: str | Rows | NeighbourRows | ByHead, take: Callable[[str], Tensor], config: ModelConfig
) -> Tensor:
    """Ours of what `take` gives by their name: the rows of a matrix, in our order."""
    if isinstance(source, Rows | NeighbourRows):
        parts = [take(name) for name in source.names]
        if isinstance(source, NeighbourRows):
            parts[:2] = (part[halves_of_neighbours(part, config)] for part in parts[:2])
        return below_one_another(source.names, parts)
    return take(source) if isinstance(source, str) else by_kind(take(source.name), config)


def halves_of_neighbours(part: Tensor, config: ModelConfig) -> Tensor:
    """Where the rows of a query or key whose heads turn halves are in one whose heads turn neighbours; ModelError where
    they are no whole heads."""
    import torch

    if len(part) % config.head_dim:
        raise ModelError(f"a matrix of queries or keys has {len(part):,} rows, no whole heads of {config.head_dim}")
    places = torch.arange(len(part)).view(-1, config.head_dim)
    turned = config.rotary_dim or config.head_dim
    return torch.cat([places[:, 0:turned:2], places[:, 1:turned:2], places[:, turned:]], dim=1).flatten()


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
        or _absent_attention(name, config)
        or _absent_head(name, config)
        or (name.startswith("ngram_embedding.") and not config.ngrams)
        or _absent_position(name, config)
        or (name.startswith("embedding_projection.") and config.embedding_dim is None)
        or (name.startswith("segment.") and not config.segments)
        or (name.endswith((".qkv.bias", ".query.bias", ".kv.bias")) and not config.qkv_bias)
        or (name.endswith("attention.output.bias") and not config.output_bias)
        or (".feed_forward." in name and name.endswith((".up.bias", ".down.bias")) and not config.feed_forward_bias)
    )


def _absent_position(name: str, config: ModelConfig) -> bool:
    """Does the name belong to another positional encoding than the config's?"""
    from lmworks.models.positions.encoding import encoding_of, encodings  # these load torch

    part, _, weight = name.partition(".")
    own = encoding_of(config)
    return part in {one.part_name for one in encodings().values()} and (
        part != own.part_name or weight not in own.weights
    )


LATENT = ("query_down", "query_down_norm", "query_up", "latent", "latent_norm", "expand")
"""The parts of latent attention beside the one that all kinds of attention have."""


CONVOLUTION = ("inward", "kernel", "kernel_bias", "outward")
"""The parts of a short convolution."""


def _part_of_attention(name: str) -> str:
    return name.partition(".attention.")[2].partition(".")[0]


def _absent_attention(name: str, config: ModelConfig) -> bool:
    """Does the name belong to another kind of attention than the config's?"""
    part, kind = _part_of_attention(name), name.rpartition(".")[2]
    if part in CONVOLUTION:
        return config.convolution is None or (kind in ("bias", "kernel_bias") and not config.convolution.bias)
    if part == "qkv":
        return config.latent is not None
    if part not in LATENT:
        return part == "sinks" and not config.sinks
    return (
        config.latent is None
        or (part.startswith("query_down") and config.latent.query_rank is None)
        or (kind == "bias" and not config.qkv_bias)
    )


def _absent_norm(name: str, config: ModelConfig) -> bool:
    if name.endswith(("query_norm.weight", "key_norm.weight")):
        return not config.qk_norm or not config.norm_weight
    if name.startswith("embedding_norm."):
        return config.embedding_norm != "layer" or (name.endswith("bias") and not config.norm_bias)
    if ("_result_norm." in name and config.norm_place != "both") or (
        ".feed_forward_norm." in name and config.shared_norm
    ):
        return True
    return (name.endswith("norm.bias") and (config.norm != "layer" or not config.norm_bias)) or (
        name.endswith("norm.weight") and (not config.norm_weight or config.norm == "none")
    )


def _absent_head(name: str, config: ModelConfig) -> bool:
    return (
        (name == "head.weight" and (config.tied or config.adaptive_cutoffs is not None))
        or (name in ("head.rank", "head.shortlist.weight") and config.adaptive_cutoffs is None)
        or (name.startswith("head.clusters.") and int(name.split(".")[2]) >= len(config.adaptive_cutoffs or ()))
        or (name.startswith("head_transform.") and not config.head_transform)
        or (name == "head_transform.dense.bias" and not config.head_transform_bias)
        or (name == "head_bias" and not config.head_bias)
        or (name.startswith("pooler.") and not config.pooler)
        or (name.startswith("classifier.") and not config.labels)
    )


def _chosen(source: Source, config: ModelConfig) -> Named:
    if isinstance(source, Chosen):
        return source.then if source.by(config) else source.otherwise
    return source


def _in_layer(name: str, config: ModelConfig, layer: int) -> bool:
    """Has the feed-forward of this layer, which may be one of experts, the tensor?"""
    part = name.partition("feed_forward.")[2]
    experts = config.experts if config.has_experts(layer) else None
    if part.startswith("activation."):
        return config.activation == "xielu" and experts is None
    if experts is None:
        return part.startswith(("up.", "down."))
    return (
        part == "router.weight"
        or (part == "router.bias" and experts.router_bias)
        or (part == "router.choice_bias" and experts.choice_bias)
        or (part == "router.lifts" and experts.bias_rate > 0)
        or part.startswith("experts.")
        or (part.startswith("shared.") and experts.shared_dim > 0)
        or (part.startswith("shared_gate.") and experts.shared_gate)
    )


def _numbered(source: Named, place: str, number: int) -> Named:
    """The names with the number of a layer or an expert in its place."""
    if isinstance(source, Rows | NeighbourRows):
        return replace(source, names=tuple(name.replace(place, str(number)) for name in source.names))
    if isinstance(source, OfExperts) and place == "{e}":
        return replace(source, expert=number)
    if not isinstance(source, str):
        return replace(source, name=source.name.replace(place, str(number)))
    return source.replace(place, str(number))


def yarn_amplitude(factor: float, scale: float = 1.0) -> float:
    """What YaRN multiplies cosine and sine by in a text `factor` times as long (DeepSeek multiplies the logarithm)."""
    return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0


ROPE_SCALING = {  # ours                   <- theirs
    "factor": "factor",
    "original_context": "original_max_position_embeddings",
    "attention_factor": "attention_factor",
    "fast_turns": "beta_fast",
    "slow_turns": "beta_slow",
    "truncate": "truncate",
    "low_frequency_factor": "low_freq_factor",
    "high_frequency_factor": "high_freq_factor",
    "short_factors": "short_factor",
    "long_factors": "long_factor",
}


def rope_from(theirs: Mapping[str, Any], partly: bool = False, by_kind: bool = False) -> dict[str, Any]:
    """Rotary settings from either spelling: `rope_parameters`, or `rope_theta` with `rope_scaling`.

    Where heads may be turned `partly`, the number of turned dimensions is read elsewhere. Settings `by_kind` of layer
    are those of layers without a window.
    """
    parameters = {"rope_theta": theirs.get("rope_theta")}
    for name in ("rope_scaling", "rope_parameters"):
        table = theirs.get(name) or {}
        if by_kind and isinstance(table, dict) and "full_attention" in table:
            table = table["full_attention"] or {}
        if not isinstance(table, dict) or any(isinstance(value, dict) for value in table.values()):
            raise ModelError(
                f"config.json: {name} is not one table of rotary settings; a table for each kind "
                "of layer is not supported"
            )
        parameters |= {key: value for key, value in table.items() if value is not None}
    ours: dict[str, Any] = {} if parameters["rope_theta"] is None else {"rope_theta": parameters["rope_theta"]}
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    kind = "longrope" if kind == "su" else kind  # as Phi-3's first files have it
    if kind not in ("default", "linear", "dynamic", "yarn", "llama3", "longrope"):
        raise ModelError(
            f"config.json: rotary scaling of type {kind!r} is not known; known are linear, dynamic, yarn, llama3, "
            "longrope"
        )
    if not partly and parameters.get("partial_rotary_factor", 1) != 1:
        raise ModelError("config.json: rotary settings with a partial_rotary_factor other than 1 are not supported")
    if kind != "default":
        known = {our_key: parameters[key] for our_key, key in ROPE_SCALING.items() if key in parameters}
        if kind == "dynamic":  # transformers stretches from max_position_embeddings, whatever is said here
            known.pop("original_context", None)
        if kind == "longrope":
            longest = theirs.get("max_position_embeddings")
            original = theirs.get("original_max_position_embeddings", known.get("original_context", longest))
            known["original_context"] = original
            if isinstance(longest, int) and isinstance(original, int) and original > 0:
                known.setdefault("factor", longest / original)
        said = [parameters.get(key) for key in ("factor", "mscale", "mscale_all_dim")]
        numbers = [float(one) for one in said if isinstance(one, int | float) and one > 0]
        if kind == "yarn" and len(numbers) == len(said):
            factor, of_one, of_all = numbers
            known.setdefault("attention_factor", yarn_amplitude(factor, of_one) / yarn_amplitude(factor, of_all))
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
