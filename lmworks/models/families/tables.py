"""What a family file holds: a table of config keys and a table of tensor names, read in both directions here.

A family computes nothing. `Family.config_from` and `config_to` translate config.json; `tensors_from` and
`tensors_to` translate names, join the rows that our network keeps in one matrix, and split them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.config import MOST_LAYERS, ModelConfig
from lmworks.models.families.names import each_name
from lmworks.models.families.rotary import rope_from, rope_to, with_one_table
from lmworks.models.families.sources import (
    ByHead,
    NeighbourRows,
    OfExperts,
    Ordered,
    Rows,
    Shaped,
    SingleRow,
    Source,
    Transposed,
    as_of_all,
    by_key_head,
    halves_of_neighbours,
    in_order,
    left_there,
    of_one_expert,
    one_left_there,
    reshaped,
    rows_joined,
    rows_of,
    stacked,
)

if TYPE_CHECKING:  # tables are read with every recipe, and what is wrong there should not wait for torch
    import torch
    from torch import Tensor

OWN_TYPE = (".keys", ".rank", ".lifts", ".choice_bias")
"""Endings of tensors that keep their type whatever that of the weights is."""

OTHER_HEADS = ("SequenceClassification", "TokenClassification", "QuestionAnswering", "MultipleChoice")
"""How classes of transformers end whose heads no family but those of encoders has."""

NUMBERS = (int, float, int | None, float | None)
"""Kinds of our settings that no text in quotes is."""

ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu_squared",
    "quick_gelu": "quick_gelu",
}

THEIR_ACTIVATIONS = {
    "silu": "silu",
    "gelu": "gelu",
    "gelu_tanh": "gelu_pytorch_tanh",
    "relu": "relu",
    "relu_squared": "relu2",
    "xielu": "xielu",
    "quick_gelu": "quick_gelu",
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
    config: type[ModelConfig] = ModelConfig
    """What its config.json becomes."""
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
        self._must_have_known_head(theirs.get("architectures"))
        ours = dict(self.fixed)
        for our_key, their_key in self.settings.items():
            kind = self.config.model_fields[our_key].annotation if our_key in self.config.model_fields else None
            said = named.get(their_key, 0)
            if (isinstance(said, str) and kind in NUMBERS) or (said is None and kind is float):
                raise ModelError(f"config.json: {their_key} is {said!r:.40}, and it should be a number; fetch it again")
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
            values = with_one_table(values, self.rotary_by_kind)
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
            return self.config(family=self.name, **ours)
        except ConfigError as error:
            raise ModelError(f"config.json of a {self.name} model: {error}") from None

    def _must_have_known_head(self, architectures: Any) -> None:
        """ModelError for a class whose head is not that of the family; families of encoders have several."""
        name = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
        if name.endswith(OTHER_HEADS) and not getattr(self, "classes", ()):
            raise ModelError(
                f"config.json: a {self.name} with another head ({name}) is not read here; take one of the class "
                f"{self.architecture}, or an encoder that classifies (bert)"
            )

    def config_to(self, config: ModelConfig) -> dict[str, Any]:
        """config.json for our config; ModelError where this architecture cannot express it."""
        theirs: dict[str, Any] = {"architectures": [self.architecture], "model_type": self.name}
        expressed = {"family", "rope_theta", "rope_scaling", *self.settings, *self.fixed}
        if self.more_to is not None:
            expressed |= set(self.told)
        fields = type(config).model_fields
        default = {name: field.default for name, field in fields.items()}
        default |= {"kv_heads": config.heads, "head_dim": config.dim // config.heads, "hidden_dim": 4 * config.dim}
        if (kind := config.position_declaration.settings) is not None:
            default["position_settings"] = kind()
        for name in fields:
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
                "no name for it, or mean a different one by it); choose another family to save it as"
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

        from lmworks.models.mapped import let_go_of_others  # they load torch
        from lmworks.models.unread import present, unread_of

        def named(part: str) -> Tensor:
            if part not in theirs:
                raise ModelError(
                    f"the tensor {part} is missing from the weights; the file is incomplete, "
                    f"or its config.json belongs to another model"
                )
            if not theirs[part].is_floating_point() and not name.endswith(OWN_TYPE):
                raise ModelError(
                    f"the tensor {part} is stored in whole numbers ({theirs[part].dtype}), and config.json has no "
                    "quantization_config that says what they stand for; take the model without compression"
                )
            remaining.discard(part)
            taken.append(theirs[part])
            return theirs[part]

        def take(part: str) -> Tensor:
            return present(named(part))

        ours: dict[str, Tensor] = {}
        taken: list[Tensor] = []
        for name, source in each_name(self.tensors, config):
            taken.clear()
            if later(name) and isinstance(source, str | Rows):
                parts = [named(part) for part in (source.names if isinstance(source, Rows) else (source,))]
                if len({part.dtype for part in parts}) == 1 and {part.ndim for part in parts} == {2}:
                    ours[name] = left_there(source, parts, dtype)
                    continue
            if isinstance(source, OfExperts) and unread_of(named(source.name)) is not None:
                left = one_left_there(source, named(source.name), config)
                ours[name] = left if later(name) else present(left)  # of one expert, not of all for each
                continue
            if isinstance(source, Rows | NeighbourRows | ByHead):
                tensor = rows_joined(source, lambda part: take(part).to(dtype) if dtype else take(part), config)
            elif isinstance(source, Transposed):
                tensor = take(source.name).T.contiguous()
            elif isinstance(source, Ordered):
                tensor = in_order(source.name, take(source.name), source.order(config))
            elif isinstance(source, OfExperts):
                tensor = of_one_expert(source, take(source.name), config)
            elif isinstance(source, Shaped):
                tensor = reshaped(source, take(source.name), config)
            elif isinstance(source, SingleRow):
                found = source.name in theirs
                tensor = take(source.name).flatten() if found else ours["embedding.weight"].new_zeros(config.vocab_size)
            else:
                tensor = take(source)
            changes = dtype is not None and tensor.is_floating_point() and not name.endswith(OWN_TYPE)
            ours[name] = tensor.to(dtype) if changes else tensor
            let_go_of_others(taken, [ours[name]])  # what was copied
        self._check_tied_head(theirs, ours, config)
        self._check_copies(theirs)
        remaining -= self._checked_constants(theirs, config)
        let_go_of_others(theirs.values(), ours.values())  # what was only compared
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
                of_experts.setdefault(source.name, []).append(as_of_all(source, ours[name]))
            elif isinstance(source, Shaped):
                theirs[source.name] = ours[name].reshape(source.theirs(config)).contiguous()
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
        head = theirs.get(str(self.tensors.get("head.weight")))
        if config.tied and head is not None and not _equal(head, ours["embedding.weight"]):
            raise ModelError(
                f"config.json says that head and embedding are one matrix, and {self.tensors['head.weight']} holds "
                "a different one; set tie_word_embeddings to false there, or fetch the model again"
            )

    def _check_copies(self, theirs: Mapping[str, Tensor]) -> None:
        """What is one tensor here may be several in a file; if they differ, all but one would be lost."""
        for copy, name in self.copies.items():
            if copy in theirs and name in theirs and not _equal(theirs[copy], theirs[name]):
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
            said = theirs[name]
            if said.numel() != 1 or (not said.is_meta and abs(said.item() - value) > 0.01 * abs(value)):
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
            or (config.tied and name == self.tensors.get("head.weight"))
        )


def _equal(theirs: Tensor, ours: Tensor) -> bool:
    """Whether two tensors are one, either of which may be a placeholder; without values, whether it may be so."""
    from lmworks.models.unread import pieces

    if theirs.shape != ours.shape or theirs.is_meta:
        return theirs.shape == ours.shape
    parts = zip(pieces(theirs, 4096), pieces(ours, 4096), strict=True)
    return all(one.to(other.dtype).equal(other) for one, other in parts)
