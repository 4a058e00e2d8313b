"""The parts of a language model, and what their folder says of them: how long a text may be, how states become a
vector, how an encoder-decoder answers."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.generation.generation_config import GenerationConfig
from lmworks.kernels.keeping import Keeper
from lmworks.kernels.packing_apart import keeper_of
from lmworks.models.config import ModelConfig
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.later_network import LaterNetwork
from lmworks.models.runner import Runner, no_adapter
from lmworks.tokens.source import target_start
from lmworks.tokens.tokenizer import Tokenizer

if TYPE_CHECKING:  # what writes on the compiled path waits for no PyTorch
    from lmworks.encoding.comparing import Scale
    from lmworks.encoding.dense import Dense
    from lmworks.encoding.embedding import Pooling
    from lmworks.models.network import Network


class ModelParts:
    """A network, its tokenizer, what runs it, and where they came from."""

    given_as: ClassVar[str] = "a model that lm.load gave"

    def __init__(
        self,
        network: Network | LaterNetwork,
        tokenizer: Tokenizer,
        source: Path | None = None,
        reference: str | None = None,
        exact: bool = True,
    ) -> None:
        if tokenizer.vocab_size > network.config.vocab_size:
            raise ConfigError(
                f"the tokenizer has ids up to {tokenizer.vocab_size - 1:,} and the network's vocabulary has "
                f"{network.config.vocab_size:,}; they do not belong together"
            )
        self._later = network if isinstance(network, LaterNetwork) else LaterNetwork.built(network)
        self.tokenizer, self.source = tokenizer, source
        self._runner: Runner | None = self._by_pytorch() if self._later.is_built else None
        self.reference = reference or (str(source) if source else None)
        self.exact = exact
        """Embed in the weights' own format, and not in the processor's fast one; `load` with a `dtype` says so."""
        self.embeds_compiled = False
        """Embed on the compiled path where it covers an encoder: unless `choose_runner` or `load` was told something
        else."""
        self.kinds: dict[str, Any] = {}
        """Of adapters beside it, by name, how their texts are told from others (adaptation/router.py)."""
        self._read: object = None
        """The state of the weights when they were those of the files."""
        self._embedder: tuple[Runner, int] | None = None
        """What embeds, where it is not `runner`, and its weights' version when it was made."""
        self._weights: GGUFFile | Path | None = None

    def __repr__(self) -> str:
        """What it is, how large, and what runs it; no weight is read for that."""
        runner = self._embedder[0] if self._embedder is not None else self._runner
        runs = "" if runner is None else ", compiled" if runner.own_threads() else ", in PyTorch"
        return (
            f"<{type(self).__name__} {self.reference or 'in memory'}: {self.config.family}, {self.parameters:,} "
            f"parameters{runs}>"
        )

    def __reduce__(self) -> NoReturn:
        """ConfigError: weights are neither pickled nor copied unseen, as another process or a deepcopy would."""
        raise ConfigError(
            "a model is not pickled or copied; load it once more (lm.load), in another process by its reference, "
            f"{self.reference or 'the folder that model.save wrote'}"
        )

    @property
    def runner(self) -> Runner:
        """What runs the network: PyTorch, unless `load` or `choose_runner` chose the compiled path. Of an encoder that
        embeds with packed weights, what else would run it is made when somebody asks."""
        if self._runner is None:
            self._runner = self._by_pytorch()
        return self._runner

    @runner.setter
    def runner(self, runner: Runner) -> None:
        self._runner = runner

    def _by_pytorch(self) -> Runner:
        from lmworks.models.torch_runner import TorchRunner

        return TorchRunner(self.network)

    @property
    def network(self) -> Network:
        """The PyTorch network; built when somebody asks, where packed weights alone were read."""
        return self._later.network

    @network.setter
    def network(self, network: Network) -> None:
        self._later, self._embedder = LaterNetwork.built(network), None

    @property
    def config(self) -> ModelConfig:
        """What shapes the network."""
        return self._later.config

    @property
    def parameters(self) -> int:
        """How many weights the network has."""
        return self._later.parameters

    @property
    def rounded_to(self) -> str | None:
        """What its matrices were rounded to when it was loaded (`lm.load`, `grid`); None for the values of its
        files."""
        return self.network.rounded_to if self._later.is_built else None  # what is not built is as it was read

    @property
    def longest(self) -> int:
        """Tokens of the longest text that it reads, special tokens included: a folder may give an encoder less than
        its context, and a trained prompt takes its own tokens."""
        longest = self.network.longest if self._later.is_built else self.config.context
        return self.pooling.within(longest) if self.config.arrangement == "encoder" else longest

    @property
    def translates(self) -> bool:
        """Whether it is an encoder-decoder, which writes a target for a source."""
        return self.config.arrangement == "encoder-decoder"

    def must_write(self) -> None:
        """ConfigError unless the network writes text."""
        if self.config.arrangement == "encoder":
            raise ConfigError(
                f"{self.reference or 'the network'} is an encoder and does not write or score text token by token; an "
                "encoder embeds texts (model.embed)"
            )

    def must_converse(self) -> None:
        """ConfigError unless the network continues a text, as a conversation is one."""
        self.must_write()
        if self.translates:
            raise ConfigError(
                f"{self.reference or 'the network'} is an encoder-decoder and makes one target of one source text; it "
                "has no conversations (lmworks generate, model.generate)"
            )

    @property
    def adapters(self) -> list[str]:
        """The adapters beside the model that `adapter=` can name (`lm.add_adapter`)."""
        if not self._later.is_built:  # nobody can have put any there
            return []
        from lmworks.models.adapted import adapter_names

        return adapter_names(self.network)

    def parameters_with(self, adapter: str | None) -> int:
        """How many weights compute a text with one of `adapters`, or with none of them."""
        if not self.adapters:
            return self.parameters
        from lmworks.models.adapted import adapted_layers, adapter_sizes

        beside = sum(one.numel() for layer in adapted_layers(self.network).values() for one in layer.own())
        return self.parameters - beside + (0 if adapter is None else adapter_sizes(self.network)[adapter])

    def known_adapter(self, name: str | None) -> str | None:
        """The name; ConfigError for one that does not exist."""
        if name is not None and name not in (known := self.adapters):
            raise no_adapter(name, known)
        return name

    def read_by(self, name: str | None) -> tuple[str | None, list[int]]:
        """The adapter that rows with this name have, and what their texts begin with: of a trained prompt no adapter,
        but the ids of its vectors. ConfigError for a name that does not exist."""
        if self.known_adapter(name) is None:
            return None, []
        from lmworks.models.adapted import prompt_ids

        assert name is not None
        lead = prompt_ids(self.network).get(name)
        return (name, []) if lead is None else (None, lead)

    def longest_with(self, name: str | None) -> int:
        """Tokens of the longest text that one of `adapters` reads, or none of them."""
        return self.longest - len(self.read_by(name)[1])

    @cached_property
    def generation_config(self) -> GenerationConfig:
        """What an encoder-decoder's folder says of its answers. ModelError for a token that does not exist."""
        if not self.translates or self.source is None or not self.source.is_dir():
            return GenerationConfig()
        said = GenerationConfig.read(self.source)
        if (largest := max(said.forced.largest, target_start(self.tokenizer))) >= self.config.vocab_size:
            raise ModelError(
                f"{self.source}: generation_config.json names the token {largest:,} and the vocabulary has "
                f"{self.config.vocab_size:,}; fetch or copy it again"
            )
        return said

    @cached_property
    def pooling(self) -> Pooling:
        """How states become one vector, as the folder or file that the model came from says, or of an adapter its
        base's; who knows better sets it."""
        from lmworks.encoding.pooling import Pooling

        if isinstance(self._weights, GGUFFile):
            return Pooling.of_gguf(self._weights.metadata) or Pooling()
        return next((said for one in self._folders if (said := Pooling.read(one)) is not None), Pooling())

    @cached_property
    def dense(self) -> list[Dense]:
        """The dense layers that a pooled state goes through, as that folder has them."""
        from lmworks.encoding.pooling import Pooling

        found = next((one for one in self._folders if Pooling.read(one) is not None), None)
        if found is None or not self.pooling.dense:
            return []
        from lmworks.encoding.dense import read_dense

        return read_dense(found, self.pooling, self.config.dim)

    @property
    def score_scale(self) -> Scale:
        """What is done with the scores of pairs, as the folder that the model came from says, or of an adapter its
        base's."""
        from lmworks.encoding.comparing import scale_of

        folder = next((one for one in self._folders if (one / "config.json").is_file()), None)
        return "none" if folder is None else scale_of(folder)

    @property
    def _folders(self) -> list[Path]:
        return [one for one in (self.source, self._weights) if isinstance(one, Path) and one.is_dir()]

    def _keeper(self, as_read: bool) -> Keeper | None:
        """What keeps the packed weights on the disk, where they are those of the files."""
        if not as_read or self._weights is None:
            return None
        return keeper_of(self._weights)
