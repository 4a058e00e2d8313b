"""LanguageModel: a network and its tokenizer, with what people do with them.

model = LanguageModel.load("smollm2")
print(model.generate("Once upon a time", Sample(temperature=0.8, seed=1), max_new_tokens=40))
print(LanguageModel.load("models/translator").generate("Guten Tag.", Beam(width=5)))
vectors = LanguageModel.load("minilm").embed(["a cat", "a dog"])
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.basics.files import directory_written_whole, write_json
from lmworks.basics.memory import must_fit
from lmworks.basics.threads import one_thread
from lmworks.encoding.classifying import Told, classifies, classify
from lmworks.encoding.comparing import Pair, Scale, compare, scale_of
from lmworks.encoding.embedding import Pooling, embed
from lmworks.encoding.filling import Filled, fill
from lmworks.encoding.pooling import Dense, read_dense
from lmworks.encoding.principal import principal_components
from lmworks.generation.answer import Answer
from lmworks.generation.constraints import Constraint
from lmworks.generation.continuations import Continuation, Reading, continuations
from lmworks.generation.decoding import decode, start
from lmworks.generation.generation_config import GenerationConfig
from lmworks.generation.request import Guess, LogprobOptions, Message, Prompt, Request, Window
from lmworks.generation.scoring import target_logprobs, token_logprobs
from lmworks.generation.strategies import Strategy
from lmworks.generation.tool_calls import Tools
from lmworks.inside.attribution import STEPS, Attribution, attribute
from lmworks.inside.patching import Metric, Place, difference, patch
from lmworks.kernels.choice import check_compress, embedder_for, packed_later, runner_for
from lmworks.kernels.footprint import Footprint
from lmworks.kernels.keeping import Keeper
from lmworks.kernels.packing import Stored, Unchanged
from lmworks.models.adapted import adapter_names, no_adapter, own_parameters
from lmworks.models.config import ModelConfig, RopeScaling, stretched
from lmworks.models.files.compressed_groups import StoredInDirectory
from lmworks.models.files.directory import read_network, refuse_foreign_files, weight_files, write_facts, write_network
from lmworks.models.files.gguf import read_gguf_network, stored_dtype
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_groups import StoredInGGUF
from lmworks.models.files.gguf_vocabulary import gguf_tokenizer
from lmworks.models.files.references import resolve
from lmworks.models.network import Network, evaluating
from lmworks.models.network_class import reads_images
from lmworks.models.precision import dtype_of, fast_dtype
from lmworks.models.runner import Runner
from lmworks.models.torch_runner import TorchRunner
from lmworks.models.unread import read_all, state_of
from lmworks.tokens.chat.conversation import encode_chat
from lmworks.tokens.chat.tools import Tool
from lmworks.tokens.continuation import encode_pairs
from lmworks.tokens.languages import in_language, language_token
from lmworks.tokens.source import source_ids, target_ids, target_start
from lmworks.tokens.tokenizer import Tokenizer

__all__ = ["LanguageModel", "Message", "Prompt", "Score"]


@dataclass(frozen=True)
class Score:
    """How well a model predicts a text."""

    tokens: list[int]
    logprobs: list[float]
    """Natural log-probability of each token, given everything before it."""
    bytes: int
    """Length of the text in UTF-8."""

    @property
    def bits(self) -> float:
        """Bits that an ideal coder would need for the text with this model."""
        return -sum(self.logprobs) / LN_2

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte: comparable between tokenizers, as perplexity is not."""
        return self.bits / self.bytes


LN_2 = 0.6931471805599453


class LanguageModel:
    """A network, its tokenizer, and where they came from."""

    def __init__(
        self,
        network: Network,
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
        self.network, self.tokenizer, self.source = network, tokenizer, source
        self.runner: Runner = TorchRunner(network)
        """What runs the network: PyTorch, unless `load` or `choose_runner` chose the compiled path."""
        self.reference = reference or (str(source) if source else None)
        self.exact = exact
        """Embed in the weights' own format, and not in the processor's fast one; `load` with a `dtype` says so."""
        self.embeds_compiled = False
        """Embed on the compiled path where it covers an encoder: unless `choose_runner` or `load` was told something
        else."""
        self._read: object = None
        """The state of the weights when they were those of the files."""
        self._embedder: tuple[Runner, int] | None = None
        """What embeds, where it is not `runner`, and its weights' version when it was made."""
        self._weights: GGUFFile | Path | None = None

    @classmethod
    def load(
        cls,
        reference: str | os.PathLike[str],
        *,
        dtype: str | torch.dtype | None = None,
        device: str = "cpu",
        compress: str | None = None,
        rope_scaling: RopeScaling | None = None,
    ) -> Self:
        """Load an alias, a directory, a .gguf file or hf:org/name.

        `dtype` None takes what the file holds; quantised weights become bfloat16 where the processor multiplies it
        natively, else float32. `compress` is int4, int8 or none: on a CPU, matrices in few bits on the compiled
        path, or the network as it is in PyTorch; unless it or `dtype` is given, a file's 4 and 8 bits run as they
        are (`lmworks.kernels`). `rope_scaling` lets a network with rotary positions read `factor` times its context,
        without training for it. Raises ModelError with one sentence for whatever is wrong with the files.
        """
        check_compress(compress, dtype)
        path, wanted = resolve(str(reference)), dtype_of(dtype)
        file = GGUFFile(path) if path.suffix == ".gguf" else None
        footprint = Footprint.of(path, file)
        if reads_images(footprint.config):
            raise ModelError(f"{reference} reads images, and a model of texts is needed here; lm.load loads it")
        footprint.must_fit(str(reference), compress, wanted)
        with progress.reading(f"loading {reference}", footprint.stored):
            with one_thread():
                if file is not None:
                    held = stored_dtype(file)
                    later = packed_later(compress if wanted is None else "none", held is None, device)
                    network = read_gguf_network(file, wanted or held or fast_dtype(device), later)
                    tokenizer = gguf_tokenizer(file)
                else:
                    few_bits = footprint.few_bits is not None
                    later = packed_later(compress if wanted is None else "none", few_bits, device)
                    network, tokenizer = read_network(path, wanted, later), Tokenizer.load(path)
            if rope_scaling is not None:
                network.config = stretched(network.config, rope_scaling)
            network = network if device == "cpu" else network.to(device)
            model = cls(network, tokenizer, path, str(reference), exact=wanted is not None)
            model._weights = path if file is None else file
            if wanted is None:
                model.choose_runner(compress, as_read=True)
        return model

    def choose_runner(self, compress: str | None = None, *, as_read: bool = False) -> None:
        """Let the compiled path run the network from here on, adapters included, or PyTorch, as `load`'s `compress`
        says. Weights that are not those of the file any more are rounded anew; `as_read` says that none is, and
        saves looking."""
        stored: Stored | None = self.stored
        if stored is not None and not as_read:
            stored = Unchanged(stored, own_parameters(self.network))
        with (
            one_thread()
        ):  # more of them gain half a second where nothing else runs (SmolLM2), and lose half a minute elsewhere
            self.runner = runner_for(self.network, compress, stored, self.network.device.type, self._keeper(as_read))
            if isinstance(self.runner, TorchRunner):
                read_all(self.network, lambda needed: must_fit(self.reference or "the network", needed))
        self._read = state_of(self.network) if as_read else self._read
        self.embeds_compiled, self._embedder = compress is None, None

    @property
    def stored(self) -> StoredInGGUF | StoredInDirectory | None:
        """What the model's files hold in few bits; None where they hold floats, or there are none."""
        weights = self._weights
        if isinstance(weights, GGUFFile):
            return StoredInGGUF(weights, self.config) if stored_dtype(weights) is None else None
        return None if weights is None else StoredInDirectory.of(weights, self.config)

    def _keeper(self, as_read: bool) -> Keeper | None:
        """What keeps the packed weights on the disk, where they are those of the files."""
        if not as_read or self._weights is None:
            return None
        if isinstance(self._weights, GGUFFile):
            return Keeper(self._weights.path, self._weights.files)
        return Keeper(self._weights, [self._weights / "config.json", *weight_files(self._weights)])

    @property
    def config(self) -> ModelConfig:
        """What shapes the network."""
        return self.network.config

    @property
    def longest(self) -> int:
        """Tokens of the longest text that it reads, special tokens included: a folder may give an encoder less than
        its context, and a trained prompt takes its own tokens."""
        longest = self.network.longest
        return self.pooling.within(longest) if self.config.arrangement == "encoder" else longest

    def save(self, folder: str | os.PathLike[str], facts: Mapping[str, Any] | None = None) -> Path:
        """Write a Hugging Face directory that transformers and vLLM load; `facts` go into lmworks.json.

        The directory is complete or not there; one that holds anything else than a model is refused.
        """
        folder = Path(folder)
        refuse_foreign_files(folder)
        with directory_written_whole(folder) as temporary:
            write_network(temporary, self.network)
            self.write_tokenizer(temporary)
            pools = not self.config.causal or bool(self.pooling.dense)
            own: dict[str, Any] = {"pooling": self.pooling.model_dump()} if pools else {}
            for name, layer in zip(self.pooling.dense, self.dense, strict=True):
                layer.write(temporary / name)
            own |= {} if self.score_scale == "none" else {"scores": self.score_scale}
            self.write_beside(temporary)
            write_facts(temporary, {"source": self.reference, **own, **(facts or {})})
        return folder

    def write_beside(self, folder: Path) -> None:
        """What a kind of model keeps in its directory beside network and tokenizer."""

    def write_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer's files and generation_config.json into an existing folder."""
        self.tokenizer.save(folder)
        ends = sorted(self.tokenizer.stop_ids)
        facts = {"bos_token_id": self.tokenizer.bos, "eos_token_id": ends, "pad_token_id": self.tokenizer.pad}
        if self.translates:
            facts |= {"decoder_start_token_id": target_start(self.tokenizer), **self.generation_config.said}
        write_json(folder / "generation_config.json", facts)

    @property
    def translates(self) -> bool:
        """Whether it is an encoder-decoder, which writes a target for a source."""
        return self.config.arrangement == "encoder-decoder"

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

    def encode_prompt(self, prompt: Prompt, most: int | None = None, tools: Sequence[Tool] = ()) -> list[int]:
        """The ids that the model reads: a text as it is (with BOS where the tokenizer adds one), a conversation by
        the chat template, which shows `tools` where there are any; a source with its end. ConfigError, before it is
        tokenized, for a text that certainly has more than `most` tokens."""
        if tools and (isinstance(prompt, str) or not all(isinstance(turn, Mapping) for turn in prompt)):
            raise ConfigError("tools are shown to a model in a conversation; give messages, not a text or tokens")
        if isinstance(prompt, str):
            self.tokenizer.must_fit(prompt, most, "source" if self.translates else "prompt")
            ids = source_ids(self.tokenizer, prompt) if self.translates else self.tokenizer.encode(prompt)
            return ids or [self.tokenizer.document_start or 0]
        if all(isinstance(token, int) for token in prompt):
            return [token for token in prompt if isinstance(token, int)]
        self.must_converse()
        return encode_chat(
            self.tokenizer,
            [dict(message) for message in prompt if isinstance(message, Mapping)],
            add_generation_prompt=True,
            most=most,
            tools=tools,
        )

    def with_images(self, prompt: Prompt, images: Sequence[Any] | Any | None) -> Prompt:
        """A prompt as it is. ConfigError for images, which are for a model whose vocabulary holds them
        (DrawingModel)."""
        if images is not None:
            raise ConfigError(
                f"{self.reference or 'the model'} reads texts and no images; take a model that `lmworks train "
                "emoji-fusion` made"
            )
        return prompt

    def stream(
        self,
        prompt: Prompt,
        strategy: Strategy | None = None,
        *,
        images: Sequence[Any] | Any | None = None,
        max_new_tokens: int = 256,
        stop: Sequence[str] = (),
        constraint: Constraint | None = None,
        tools: Tools | None = None,
        guess: Guess | None = None,
        window: Window = "stop",
        adapter: str | None = None,
    ) -> Iterator[str]:
        """Pieces of text as they come; joined they are what `generate` returns."""
        said = {"constraint": constraint, "tools": tools, "guess": guess, "window": window, "adapter": adapter}
        asked = self.with_images(prompt, images)
        request = self.request(asked, strategy, max_new_tokens, stop, **said)  # type: ignore[arg-type]
        for _, shown in decode(self.runner, [start(request, self.runner)]):
            if shown:
                yield shown

    def generate(
        self,
        prompt: Prompt,
        strategy: Strategy | None = None,
        *,
        images: Sequence[Any] | Any | None = None,
        max_new_tokens: int = 256,
        stop: Sequence[str] = (),
        constraint: Constraint | None = None,
        tools: Tools | None = None,
        guess: Guess | None = None,
        window: Window = "stop",
        adapter: str | None = None,
    ) -> Answer:
        """The whole answer; greedy unless a strategy is given, or an encoder-decoder's folder says how. A
        `constraint` gives its form (`constraints.py`), `tools` what it may call (`tool_calls.py`); a `guess` makes it
        faster and changes nothing (`guessing.py`); at the end of the context it ends, or the `window` slides. An
        `adapter` that was put beside the model (`lm.add_adapter`) is chosen by its name. `images` stand before the
        prompt, where the model reads some (DrawingModel)."""
        said = {"max_new_tokens": max_new_tokens, "stop": stop, "constraint": constraint, "tools": tools}
        said |= {"guess": guess, "window": window, "adapter": adapter}
        return self.generate_batch([self.with_images(prompt, images)], strategy, **said)[0]  # type: ignore[arg-type]

    def generate_batch(
        self,
        prompts: Sequence[Prompt],
        strategy: Strategy | Sequence[Strategy] | None = None,
        *,
        max_new_tokens: int = 256,
        stop: Sequence[str] = (),
        constraint: Constraint | None = None,
        tools: Tools | None = None,
        guess: Guess | None = None,
        window: Window = "stop",
        adapter: str | Sequence[str | None] | None = None,
    ) -> list[Answer]:
        """Several answers at once, each step shared; one strategy and one adapter for all, or one for each."""
        strategies = strategy if isinstance(strategy, Sequence) else [strategy] * len(prompts)
        adapters = [adapter] * len(prompts) if adapter is None or isinstance(adapter, str) else adapter
        for what, given in (("strategies", strategies), ("adapters", adapters)):
            if len(given) != len(prompts):
                raise ConfigError(
                    f"there are {len(prompts)} prompts and {len(given)} {what}; give one for all, or one for each"
                )
        said = {"constraint": constraint, "tools": tools, "guess": guess, "window": window}
        requests = [
            self.request(prompt, one, max_new_tokens, stop, adapter=name, **said)  # type: ignore[arg-type]
            for prompt, one, name in zip(prompts, strategies, adapters, strict=True)
        ]
        sequences = [start(request, self.runner) for request in requests]
        for _ in decode(self.runner, sequences):
            pass
        return [Answer.of(sequence) for sequence in sequences]

    def translate(
        self,
        texts: Sequence[str],
        target: str,
        source: str | None = None,
        strategy: Strategy | None = None,
        *,
        max_new_tokens: int = 256,
    ) -> list[Answer]:
        """What a translator of many languages writes for each text in the `target` language, named as its tokens name
        it ("de", "deu_Latn"); `source` is that of the texts, or what the tokenizer takes it for. ConfigError for a
        model without such tokens."""
        opening = language_token(self.tokenizer, target)
        ids = [self.encode_prompt(text) for text in texts]
        ids = ids if source is None else [in_language(self.tokenizer, one, source) for one in ids]
        asked = [self.request(one, strategy, max_new_tokens) for one in ids]
        forced = [replace(one, forced=one.forced.but(first=opening)) for one in asked]
        sequences = [start(one, self.runner) for one in forced]
        for _ in decode(self.runner, sequences):
            pass
        return [Answer.of(sequence) for sequence in sequences]

    def embed(
        self,
        texts: Sequence[str | Sequence[int]] = (),
        *,
        images: Any = None,
        prompt: str | None = None,
        pooling: Pooling | None = None,
        cut: bool = False,
        adapter: str | None = None,
    ) -> Tensor:
        """A vector for each text, [texts, vector_dim] in float32, pooled as the model's folder says unless `pooling`
        does; `images` are for a VisionModel. A text may be given as its tokens' ids, which are read as they are. Before
        others stands the `prompt` of this name, as the folder has it; "query" and "passage" may be named of every
        model, and stand for nothing where its folder has none.

        An encoder runs in 8 bits on the compiled path where that covers it (cosines with float32 are above 0.999),
        else in bfloat16 where the processor multiplies it natively (above 0.9999); with `compress="none"` the
        latter, with a `dtype` as loaded. DataError for a text that is longer than the model reads, unless it may be
        `cut`. An `adapter` beside the model is chosen by its name.
        """
        self._no_images(texts, images)
        if self.network.encoder is not None:
            raise ConfigError("an encoder-decoder has no pooled states; embed with an encoder or a decoder")
        runner, dtype = self._embeds_with(), self._embeds_in()
        said = pooling or self.pooling
        dense = self.dense if said.dense else ()
        how = {"prompt": prompt, "cut": cut, "adapter": self.known_adapter(adapter)}
        return embed(runner, self.tokenizer, texts, said, dense=dense, dtype=dtype, **how)  # type: ignore[arg-type]

    def reduce(self, texts: Sequence[str], dimensions: int, *, whiten: bool = False) -> float:
        """Let `embed` give vectors of fewer dimensions from here on: the principal components of these texts' vectors,
        before they are brought to length 1; with `whiten` each divided by its standard deviation. `save` keeps it.
        Returns the share of the texts' variance that is kept. ConfigError for more dimensions than the vectors have or
        differ in."""
        plain = self.pooling.but(normalise=False)
        found = principal_components(self.embed(texts, prompt="passage", pooling=plain, cut=True), dimensions)
        name = next(one for number in itertools.count(2) if (one := f"{number}_Dense") not in self.pooling.dense)
        self.dense, self.pooling = (
            [*self.dense, found.layer(whiten)],
            self.pooling.but(dense=(*self.pooling.dense, name)),
        )
        return found.kept

    @property
    def vector_dim(self) -> int:
        """How many numbers a text's vector has."""
        return self.dense[-1].width if self.dense else self.config.dim

    def _embeds_in(self) -> torch.dtype:
        """The format in which PyTorch multiplies where it embeds or compares."""
        return torch.float32 if self.exact else fast_dtype(self.network.device)

    @property
    def batch_invariant(self) -> bool:
        """Whether `embed` gives a text the same vector to the bit whatever other texts are embedded with it: on the
        compiled path, which computes each token by itself."""
        return self._embeds_with().own_threads()

    def _embeds_with(self) -> Runner:
        """What runs the network where it embeds or compares: made when it is first wanted, and after weights have
        changed."""
        if self.runner.own_threads() or not self.embeds_compiled:
            return self.runner
        if self._embedder is not None and self._embedder[0].weights_version != self._embedder[1]:
            self._embedder = None
        if self._embedder is None:
            runner = embedder_for(self.network, self._keeper(state_of(self.network) == self._read))
            if runner is None:
                return self.runner
            self._embedder = runner, runner.weights_version
        return self._embedder[0]

    def fill(self, text: str, *, top: int = 5) -> list[list[Filled]]:
        """For each mask in a text ("Paris is the [MASK] of France.") the `top` likeliest tokens and their
        probabilities."""
        return fill(self.runner, self.tokenizer, text, top)

    def classify(self, texts: Sequence[str], labels: Sequence[str] | None = None, *, cut: bool = False) -> list[Told]:
        """The class of each text and the probability of every class; DataError for a text that is longer than the model
        reads, unless it may be `cut`. `labels` are for two towers of images and texts alone (VisionModel)."""
        self._no_images(texts)
        if labels is not None and classifies(self.config):
            raise ConfigError("a classifier of texts tells its own classes apart; leave labels out")
        if labels is not None:
            raise ConfigError(
                f"{self.reference or 'the model'} has no classifier, and chooses from no labels; load a model that "
                "reads images, a CLIP say, or train a classifier of texts (lmworks train classify)"
            )
        return classify(self.runner, self.tokenizer, texts, cut=cut)

    def _no_images(self, texts: Any, images: Any = None) -> None:
        """ConfigError where one of what is given is an image in memory."""
        several = texts if isinstance(texts, list | tuple) else [texts]
        wrong = next((one for one in [*several, images] if hasattr(one, "convert") or hasattr(one, "ndim")), images)
        if wrong is not None:
            raise ConfigError(
                f"{self.reference or 'the model'} reads texts and no images (a {type(wrong).__name__} was given); give "
                "texts, or load a model that reads images, a CLIP say"
            )

    def compare(self, pairs: Sequence[Pair], *, cut: bool = False) -> Tensor:
        """A cross-encoder's score for each pair of texts (a question and what may answer it), [pairs] in float32: the
        higher, the better they belong together.

        It runs as `embed` does: in 8 bits on the compiled path where that covers the network. ConfigError for a network
        without such a head; DataError for a pair that is longer than the model reads, unless it may be `cut`.
        """
        runner, dtype = self._embeds_with(), self._embeds_in()
        return compare(runner, self.tokenizer, pairs, scale=self.score_scale, cut=cut, dtype=dtype)

    @property
    def score_scale(self) -> Scale:
        """What is done with the scores of pairs, as the folder that the model came from says, or of an adapter its
        base's."""
        folder = next((one for one in self._folders if (one / "config.json").is_file()), None)
        return "none" if folder is None else scale_of(folder)

    @cached_property
    def pooling(self) -> Pooling:
        """How states become one vector, as the folder or file that the model came from says, or of an adapter its
        base's; who knows better sets it."""
        if isinstance(self._weights, GGUFFile):
            return Pooling.of_gguf(self._weights.metadata) or Pooling()
        return next((said for one in self._folders if (said := Pooling.read(one)) is not None), Pooling())

    @cached_property
    def dense(self) -> list[Dense]:
        """The dense layers that a pooled state goes through, as that folder has them."""
        found = next((one for one in self._folders if Pooling.read(one) is not None), None)
        return [] if found is None else read_dense(found, self.pooling, self.config.dim)

    @property
    def _folders(self) -> list[Path]:
        return [one for one in (self.source, self._weights) if isinstance(one, Path) and one.is_dir()]

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

    def request(
        self,
        prompt: Prompt,
        strategy: Strategy | None = None,
        max_new_tokens: int = 256,
        stop: Sequence[str] = (),
        *,
        logprobs: LogprobOptions = LogprobOptions(),
        constraint: Constraint | None = None,
        tools: Tools | None = None,
        guess: Guess | None = None,
        window: Window = "stop",
        adapter: str | None = None,
    ) -> Request:
        """What is asked, checked against the model: what `decode` and an `Engine` run."""
        self.must_write()
        if tools is not None and constraint is not None:
            raise ConfigError("tools and a constraint both say the form of the answer; leave one of them out")
        shown = () if tools is None or all(isinstance(token, int) for token in prompt) else tools.shown
        read = self.encode_prompt(prompt, self.longest if window == "stop" else None, shown)
        said = self.generation_config
        largest, smallest = max(read, default=0), min(read, default=0)
        if smallest < 0 or largest >= self.config.vocab_size:
            raise ConfigError(
                f"the prompt names the token {largest if smallest >= 0 else smallest:,}, and the vocabulary has "
                f"{self.config.vocab_size:,}; encode the text with this model's tokenizer"
            )
        chosen = strategy or said.strategy
        if (biased := max(chosen.logit_bias, default=-1)) >= self.config.vocab_size:
            raise ConfigError(
                f"logit_bias names the token {biased:,}, and the vocabulary has {self.config.vocab_size:,}; leave it "
                "out"
            )
        return Request(
            self.tokenizer,
            [target_start(self.tokenizer)] if self.translates else read,
            chosen,
            max_new_tokens,
            [stop] if isinstance(stop, str) else stop,
            self.longest,
            vocab_size=self.config.vocab_size,
            source=read if self.translates else None,
            forced=said.forced,
            logprobs=logprobs,
            constraint=constraint if tools is None else tools.constraint,
            guess=guess,
            window=window,
            adapter=self.known_adapter(adapter),
        )

    def take_adapters(self, put: Callable[[], None]) -> None:
        """Have adapters put beside the network, whose weights stay as they are."""
        as_read = state_of(self.network) == self._read
        self.runner.take_adapters(put)
        self._read, self._embedder = state_of(self.network) if as_read else self._read, None

    @property
    def adapters(self) -> list[str]:
        """The adapters beside the model that `adapter=` can name (`lm.add_adapter`)."""
        return adapter_names(self.network)

    def known_adapter(self, name: str | None) -> str | None:
        """The name; ConfigError for one that does not exist."""
        if name is not None and name not in (known := self.adapters):
            raise no_adapter(name, known)
        return name

    @torch.inference_mode()
    def logits(
        self, ids: Int[Tensor, "batch seq"] | Sequence[Sequence[int]], mask: Bool[Tensor, "batch seq"] | None = None
    ) -> Float[Tensor, "batch seq vocab"]:
        """Logits in float32; `mask` is False on padding, left or right."""
        try:
            tokens = torch.as_tensor(ids, device=self.network.device)
        except (TypeError, ValueError):
            raise ConfigError(
                "ids are not rows of equally many numbers; pad the shorter ones and give a mask"
            ) from None
        if tokens.ndim != 2 or not tokens.numel() or tokens.is_floating_point():
            raise ConfigError(
                f"ids have the shape {list(tokens.shape)} and the type {tokens.dtype}; give whole numbers, [batch, seq]"
            )
        if not 0 <= int(tokens.min()) <= int(tokens.max()) < self.config.vocab_size:
            raise ConfigError(
                f"ids lie between {int(tokens.min())} and {int(tokens.max())}, and the vocabulary has "
                f"{self.config.vocab_size:,}; encode the text with this model's tokenizer"
            )
        if mask is not None:
            mask = torch.as_tensor(mask, device=self.network.device)
            if mask.shape != tokens.shape:
                raise ConfigError(
                    f"the mask has the shape {list(mask.shape)} and the ids {list(tokens.shape)}; they must be equal"
                )
        with evaluating(self.network):
            return self.runner.logits(self.runner.hidden(tokens, mask))

    def attribute(
        self,
        prompt: Prompt,
        answer: str | None = None,
        *,
        instead: str | None = None,
        method: str = "occlusion",
        steps: int = STEPS,
    ) -> Attribution:
        """The share of each token of a prompt in log p(answer), the model's own first words where none is given, or in
        how much likelier it is than `instead`. A token that is away is a document's end. Of a model in float32."""
        self.must_write()
        ids = self.encode_prompt(prompt, self.longest) if prompt else []
        if answer is None and ids:
            said = self.generate(ids, max_new_tokens=8)
            answer, written = said.text, [token for token in said.tokens if token not in self.tokenizer.stop_ids]
        else:
            written = self.tokenizer.encode(answer or "", special=False, continues=True)
        other = None if instead is None else self.tokenizer.encode(instead, special=False, continues=True)
        found = attribute(
            self.network, ids, written, instead=other, away=self.tokenizer.document_end, method=method, steps=steps
        )
        pieces = tuple(self.tokenizer.decode([one], skip_special=False) for one in ids)
        return replace(found, pieces=pieces, answer=answer or "")

    def patch(
        self, clean: Prompt, corrupt: Prompt, metric: tuple[str, str] | Metric, *, place: Place = "residual_in"
    ) -> Float[Tensor, "layers places"]:
        """The share of the difference between two prompts of as many tokens that each layer carries at each token, or
        each head (`inside.patching`). `metric` is two answers, by their first tokens, or a function of the logits."""
        self.must_write()
        if isinstance(metric, tuple):
            first = [self.tokenizer.encode(text, special=False, continues=True)[:1] for text in metric]
            if first[0] == first[1] or not all(first):
                raise ConfigError(
                    f"the answers {metric[0]!r} and {metric[1]!r} begin with the same token, or with none"
                )
            metric = difference(first[0][0], first[1][0])
        kept, changed = (self.encode_prompt(text, self.longest) for text in (clean, corrupt))
        return patch(self.network, kept, changed, metric, place=place)

    def score(
        self, text: str, *, prompt: Prompt | None = None, window: int | None = None, adapter: str | None = None
    ) -> Score:
        """Log-probability of every token of a text, after a prompt where one is given; of an encoder-decoder the
        prompt is the source, and the end of the target counts too. Longer texts than the window are read in windows
        that overlap by a quarter; each token is scored once, with at least that much text before it. An
        `adapter` beside the model is chosen by its name."""
        self.known_adapter(adapter)
        if self.translates:
            return Score(*self._target_score(text, prompt, window), len(text.encode()))
        tokens = self.tokenizer.encode(text, special=False, continues=prompt is not None)
        before = None if prompt is None else self.encode_prompt(prompt)
        return self.score_tokens(tokens, len(text.encode()), prompt=before, window=window, adapter=adapter)

    def score_tokens(
        self,
        tokens: list[int],
        size: int,
        *,
        prompt: list[int] | None = None,
        window: int | None = None,
        adapter: str | None = None,
    ) -> Score:
        """As `score`, for ids that are at hand; `size` is their text's length in bytes. Not for an encoder-decoder."""
        self.must_write()
        if not tokens:
            raise ConfigError("the text is empty; there is nothing to score")
        start = self.tokenizer.document_start
        before = prompt or ([] if start is None else [start])
        window = self.longest if window is None else min(window, self.longest)
        logprobs = token_logprobs(self.runner, before + tokens, window, adapter)[max(len(before) - 1, 0) :]
        # Without a token that opens a document nothing predicts the first one: it costs what a blind guess costs.
        return Score(tokens, logprobs if before else [-math.log(self.config.vocab_size), *logprobs], size)

    def loglikelihood(self, pairs: Sequence[tuple[str, str]], reading: Reading | None = None) -> list[Continuation]:
        """How likely each continuation is after its context: [(context, continuation), ...]. What several texts begin
        with is read once, and `reading` then says how much that saved.

        They are cut into tokens as lm-evaluation-harness cuts them: spaces at the end of a context go to the
        continuation, and BOS (else EOS) stands for an empty context. A context that is too long loses its beginning.
        DataError for a continuation without a token, or with more than the model reads.
        """
        found = dict(self.continuations(encode_pairs(self.tokenizer, pairs), reading))
        return [found[number] for number in range(len(pairs))]

    def continuations(
        self, pairs: Sequence[tuple[list[int], list[int]]], reading: Reading | None = None
    ) -> Iterator[tuple[int, Continuation]]:
        """As `loglikelihood`, for ids that are at hand; each pair's number with what was found, as it is done."""
        self.must_converse()
        return continuations(self.runner, pairs, self.longest, reading)

    def _target_score(self, text: str, source: Prompt | None, window: int | None) -> tuple[list[int], list[float]]:
        """A target's tokens, its end included, and the log-probability of each."""
        if source is None:
            raise ConfigError("an encoder-decoder scores a target by its source; give score(target, prompt=source)")
        if window is not None:
            raise ConfigError("an encoder-decoder reads a target at once; leave the window out")
        read, tokens = self.encode_prompt(source), target_ids(self.tokenizer, text, self.generation_config.forced.first)
        for what, ids in (("source", read), ("target", tokens)):
            if len(ids) > self.longest:
                raise ConfigError(
                    f"the {what} has {len(ids):,} tokens and the model reads {self.longest:,}; shorten it"
                )
        return tokens, target_logprobs(self.runner, read, [target_start(self.tokenizer), *tokens])
