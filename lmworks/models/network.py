"""The network: embedding, stack of blocks, heads. One transformer in three arrangements, shaped by ModelConfig.

network = Network(ModelConfig(vocab_size=512, dim=64, layers=2, heads=4, context=128))
logits = network(tokens)                                       # [batch, seq] -> [batch, seq, vocab]
logits = translator(tokens, memory=translator.encode(source))  # an encoder-decoder
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.basics.arrays import Float, Int
from lmworks.basics.errors import ConfigError
from lmworks.models.adaptive_softmax import AdaptiveSoftmax, Softmax
from lmworks.models.block import Block, BlockRunner, run_plainly, run_recomputing
from lmworks.models.cache import Cache
from lmworks.models.config import ModelConfig
from lmworks.models.embedding_table import IDS, blank_embedding, looked_up
from lmworks.models.feed_forward import ACTIVATIONS
from lmworks.models.head_transform import HeadTransform
from lmworks.models.hooks import HookFunction, hook_points, hooked
from lmworks.models.image_reader import ImageReader
from lmworks.models.initialisation import initialise
from lmworks.models.linear import Product
from lmworks.models.memory import Memory
from lmworks.models.named_prompts import NamedPrompts
from lmworks.models.ngram_embedding import NGramEmbedding
from lmworks.models.prompt import TrainedPrompt
from lmworks.models.scheme import Scheme
from lmworks.models.stack import Hidden, Real, Stack, Tokens
from lmworks.models.unread import leave_unread, peek
from lmworks.models.value_each import a_value_each

__all__ = ["Block", "BlockRunner", "Network", "build_network", "evaluating", "run_plainly", "run_recomputing"]

Logits = Float[Tensor, "batch seq vocab"]


class Network(Stack):
    """A decoder (tokens in, logits for the next token out), an encoder, or an encoder-decoder, as its config says."""

    trainings = 0
    """How often it was put in training mode. Fused optimisers change weights without counting that in their
    versions."""

    def __init__(self, config: ModelConfig) -> None:
        nn.Module.__init__(self)
        self.embedding = blank_embedding(config.vocab_size, config.embedding_width)
        self.ngram_embedding = NGramEmbedding(config.vocab_size, config.dim, config.ngrams) if config.ngrams else None
        self.add_parts(config)
        self.head = _head(config)
        self.head_product = Product()
        self.head_transform = HeadTransform(config) if config.head_transform else None
        self.head_bias = nn.Parameter(torch.zeros(config.vocab_size)) if config.head_bias else None
        self.pooler = nn.Linear(config.dim, config.dim) if config.pooler else None
        judged = config.embedding_width if config.classifier_transform else config.dim
        self.classifier = nn.Linear(judged, len(config.labels)) if config.labels else None
        self.encoder = Stack(config.encoder()) if config.arrangement == "encoder-decoder" else None
        self.prompt: TrainedPrompt | None = None
        self.image_reader: ImageReader | None = None
        self.prompts: NamedPrompts | None = None
        self.rounded_to: str | None = None
        """What rounded its matrices since they were read (adaptation/nf4.py); None for the values of its files."""

    @property
    def head_weight(self) -> Float[Tensor, "vocab dim"]:
        """The matrix that turns hidden states into logits; the embedding's own where tied. ConfigError for an adaptive
        softmax, which has several."""
        if isinstance(self.head, AdaptiveSoftmax):
            raise ConfigError("an adaptive softmax has no single head matrix; use network.logits or network.softmaxes")
        return self.embedding.weight if self.head is None else self.head.weight

    @property
    def longest(self) -> int:
        """Tokens of the longest text that it reads: the context, less a trained prompt that stands before it."""
        return self.config.context - (len(self.prompt.vectors) if self.prompt is not None else 0)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights, and so of the activations."""
        return peek(self.embedding, "weight").dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return peek(self.embedding, "weight").device

    def train(self, mode: bool = True) -> Network:
        """Training and evaluation mode; training drops packed copies of weights."""
        if mode:
            self.head_product.drop()
            self.trainings += 1
        return super().train(mode)

    def forward(
        self,
        tokens: Tokens,
        mask: Real | None = None,
        *,
        documents: Tokens | None = None,
        cache: Cache | None = None,
        segments: Tokens | None = None,
        memory: Memory | None = None,
        prefix: Real | None = None,
    ) -> Logits:
        """Logits in float32. Arguments as in `hidden`."""
        return self.logits(
            self.hidden(tokens, mask, documents=documents, cache=cache, segments=segments, memory=memory, prefix=prefix)
        )

    def logits(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        """The head: logits in float32; an adaptive softmax gives log-probabilities, which are logits too."""
        if isinstance(self.head, AdaptiveSoftmax):
            return self.head.log_probabilities(hidden)
        logits = self.head_product(self._before_head(hidden), self.head_weight, self.head_bias).float()
        return self.capped(logits)

    def capped(self, logits: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch vocab"]:
        """Logits under the config's cap, where it has one."""
        cap = self.config.logit_cap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def softmaxes(self, hidden: Float[Tensor, "rows dim"], labels: Int[Tensor, " rows"]) -> Iterable[Softmax]:
        """The cross-entropies whose sum is -log p(labels), each as (states, matrix, labels): what training minimises
        without ever holding the logits of all rows. One, but for an adaptive softmax."""
        if isinstance(self.head, AdaptiveSoftmax):
            return self.head.softmaxes(hidden, labels)
        states, matrix = self._before_head(hidden), self.head_weight
        if self.head_bias is not None:  # a bias is one more input, which is always 1
            states = torch.cat([states, torch.ones_like(states[:, :1])], dim=1)
            matrix = torch.cat([matrix, self.head_bias[:, None]], dim=1)
        return [(states, matrix, labels)]

    def _before_head(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        if self.head_transform is not None:
            hidden = self.head_transform(hidden)
        elif self.head is None and hidden.shape[-1] != self.embedding.weight.shape[-1]:
            raise ConfigError(
                "the network makes no logits: its embeddings are narrower than its states, and nothing brings these to "
                "their width; set head_transform, or tied = false"
            )
        return hidden if self.config.head_scale is None else hidden * self.config.head_scale

    def hidden(
        self,
        tokens: Tokens,
        mask: Real | None = None,
        *,
        documents: Tokens | None = None,
        cache: Cache | None = None,
        segments: Tokens | None = None,
        memory: Memory | None = None,
        prefix: Real | None = None,
    ) -> Hidden:
        """The states after the last norm.

        `mask` is False (0) on padding, left or right; positions count real tokens only. `documents` numbers the
        packed documents of each row: they don't see each other, and each starts at position 0 (so does a number that
        comes back after another document). With a `cache` the tokens follow those already in it. `segments` numbers
        the text that each token belongs to (BERT). An encoder-decoder needs `memory`, which `encode` makes of the
        source; a cache made with it holds it. Tokens that are True in `prefix` are seen by those of their document
        before them too (prefix language models). Raises ConfigError where learned positions end or the arguments do
        not fit one another.
        """
        real = real_tokens(tokens, mask)
        a_value_each(tokens.shape, documents=documents, segments=segments, prefix=prefix)
        memory = self._memory(tokens, documents, cache, memory)
        self._check_prefix(tokens, cache, prefix)
        led = None
        past = self.image_reader or self.prompts
        known = tokens if past is None else past.known(tokens)
        x = looked_up(self.embedding, known, IDS)
        if self.prompt is not None and self.prompt.leads(cache):
            led = self.prompt.led(tokens, real, documents, prefix)
            x, tokens = led.put(self._scaled(x), self.before_texts(self.prompt)), led.tokens
            real, documents, prefix = led.real, led.documents, led.seen
        positions = self.positions_of(tokens, real, documents, cache)
        if self.ngram_embedding is not None:
            x = x + self._ngrams(self.ngram_embedding, tokens, positions, real, cache)
        x = x if led is not None else self._scaled(x)
        if past is not None:
            x = past.put(x, tokens)
        x = self.read(x, tokens, positions, real, documents, cache, segments, memory, prefix)
        if cache is not None:
            cache.advance(tokens, real)
        if led is None:
            return x
        if cache is not None:
            cache.lead = led.length
        return led.taken(x)

    def encode(self, source: Tokens, mask: Real | None = None) -> Memory:
        """What an encoder-decoder's encoder makes of a source text, for `hidden`; `mask` is False on padding."""
        if self.encoder is None:
            raise ConfigError(
                f"the network is {_a(self.config.arrangement)} and has no second stack that encodes a source; "
                "give the text as tokens"
            )
        real = real_tokens(source, mask)
        positions = self.encoder.positions_of(source, real, None, None)
        self.encoder.run_block, self.encoder.attention_kernel = self.run_block, self.attention_kernel
        return Memory(
            self.encoder.read(self._scaled(looked_up(self.embedding, source, IDS)), source, positions, real),
            real,
        )

    def pooled(self, hidden: Hidden, mask: Real | None = None) -> Float[Tensor, "batch dim"]:
        """One state for each text: as `text_state` says, after the pooler where there is one."""
        a_value_each(hidden.shape[:2], mask=mask)
        return self._after_pooler(self._text_state(hidden, mask))

    def _text_state(self, hidden: Hidden, mask: Real | None) -> Float[Tensor, "batch dim"]:
        """The mean over the real tokens, or the first one's of an encoder, or the last real one's of a decoder."""
        if self.config.text_state == "mean":
            real = torch.ones_like(hidden[..., :1]) if mask is None else mask[..., None].to(hidden.dtype)
            return (hidden * real).sum(dim=1) / real.sum(dim=1)
        rows, end = torch.arange(len(hidden), device=hidden.device), hidden.shape[1] - 1
        if mask is None:
            at = torch.full_like(rows, end if self.config.causal else 0)
        else:
            real = mask.int()
            at = end - real.flip(1).argmax(dim=1) if self.config.causal else real.argmax(dim=1)
        return hidden[rows, at]

    def _after_pooler(self, states: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        return states if self.pooler is None else ACTIVATIONS[self.config.pooler_activation](self.pooler(states))

    def classify(self, hidden: Hidden, mask: Real | None = None) -> Float[Tensor, "batch *seq labels"]:
        """Scores of the classes, in float32: of each text, or of each token (`labels_of`)."""
        if self.classifier is None:
            raise ConfigError("the network has no classifier; set labels to the names of the classes in its config")
        states = self._after_pooler(hidden) if self.config.labels_of == "tokens" else self.pooled(hidden, mask)
        if self.config.classifier_transform and self.head_transform is not None:
            states = self.head_transform(states)
        return self.classifier(self.dropout(states)).float()

    def _scaled(self, x: Hidden) -> Hidden:
        """Tokens' embeddings, normed and scaled where the config says so."""
        if self.config.embedding_norm == "rms":
            x = F.rms_norm(x, x.shape[-1:], eps=self.config.norm_eps)
        if self.config.scale_embedding:
            x = x * torch.tensor(self.config.dim**0.5, dtype=x.dtype)
        if self.config.embedding_scale is not None:
            x = x * self.config.embedding_scale
        return x

    def before_texts(self, prompt: TrainedPrompt) -> Float[Tensor, "length dim"]:
        """A trained prompt as the blocks read it: as tokens' embeddings; with Gemma's factor, which transformers has
        for tokens alone, as it is."""
        vectors = prompt.vectors.to(self.dtype)
        return vectors if self.config.scale_embedding else self._scaled(vectors)

    def _memory(
        self, tokens: Tokens, documents: Tokens | None, cache: Cache | None, memory: Memory | None
    ) -> Memory | None:
        """The source's states, given or in the cache; ConfigError where arguments do not fit the arrangement."""
        if documents is not None and cache is not None:
            raise ConfigError("packed documents are read without a cache; leave out one of the two")
        if cache is not None and not self.config.causal:
            raise ConfigError("an encoder reads a text at once, without a cache; leave the cache out")
        memory = cache.memory if memory is None and cache is not None else memory
        if (memory is None) != (self.encoder is None):
            raise ConfigError(
                "an encoder-decoder attends to a source: give memory=network.encode(source)"
                if memory is None
                else f"the network is {_a(self.config.arrangement)} and attends to no source; leave memory out"
            )
        if memory is not None and memory.rows != len(tokens):
            raise ConfigError(f"the memory holds {memory.rows} sources for {len(tokens)} rows of tokens")
        if memory is not None and documents is not None:
            raise ConfigError("packed documents cannot share a source; give one document a row to an encoder-decoder")
        return memory

    def _check_prefix(self, tokens: Tokens, cache: Cache | None, prefix: Real | None) -> None:
        """ConfigError for a prefix that nothing can be seen by, or that does not fit the tokens."""
        if prefix is None:
            return
        if not self.config.causal:
            raise ConfigError("an encoder's tokens all see each other; leave prefix out")
        if cache is not None and cache.length:
            raise ConfigError("a prefix is read at once, before anything is in the cache; start with an empty one")

    def _ngrams(
        self, embedding: NGramEmbedding, tokens: Tokens, positions: Tokens, real: Real | None, cache: Cache | None
    ) -> Hidden:
        """The embeddings of the n-grams that end at each token; those before them may lie in the cache."""
        if cache is None or not cache.length:
            return embedding(tokens, positions, real)
        past = cache.tokens
        ones = torch.ones_like
        if real is not None or cache.real is not None:
            before = ones(past).bool() if cache.real is None else cache.real
            real = torch.cat([before, ones(tokens).bool() if real is None else real], dim=1)
        # Those in the cache get positions that are large enough for any n-gram: theirs are not looked at.
        at = torch.cat([ones(past) * self.config.context, positions], dim=1)
        return embedding(torch.cat([past, tokens], dim=1), at, real)[:, past.shape[1] :]

    def run_with_cache(
        self, tokens: Tokens, mask: Real | None = None, *, memory: Memory | None = None
    ) -> tuple[Logits, dict[str, Tensor]]:
        """Logits, and every activation by its hook path. The logits are those of a plain run, to the bit."""
        seen: dict[str, list[Tensor]] = {}

        def reader(path: str) -> HookFunction:
            def read(activation: Tensor) -> None:
                seen.setdefault(path, []).append(activation.detach().clone())

            return read

        with hooked(self, {path: reader(path) for path in hook_points(self)}):
            logits = self(tokens, mask, memory=memory)
        # What a network passes step by step is joined along the steps, which stand before the width.
        return logits, {path: parts[0] if len(parts) == 1 else torch.cat(parts, dim=-2) for path, parts in seen.items()}

    def run_with_hooks(
        self,
        tokens: Tokens,
        hooks: Mapping[str, HookFunction],
        mask: Real | None = None,
        *,
        memory: Memory | None = None,
    ) -> Logits:
        """Logits with functions hooked in by path; one that returns a tensor replaces the activation."""
        with hooked(self, hooks):
            return self(tokens, mask, memory=memory)

    def new_cache(self, batch: int = 1, capacity: int = 256, memory: Memory | None = None) -> Cache:
        """An empty KV cache for `batch` rows; of an encoder-decoder, with the source that they attend to."""
        return Cache(self.config, batch, capacity, self.dtype, self.device, memory)

    def initialise(self, seed: int = 0, scheme: Scheme = "normal") -> Network:
        """Fresh weights."""
        initialise(self, self.config, seed, scheme)
        return self


def _head(config: ModelConfig) -> nn.Linear | AdaptiveSoftmax | None:
    """The head; a tied one has no parameter of its own, so there is nothing that could come untied."""
    if config.adaptive_cutoffs is not None:
        return AdaptiveSoftmax(config)
    width = config.embedding_width if config.head_transform else config.dim
    return None if config.tied else nn.Linear(width, config.vocab_size, bias=False)


def real_tokens(tokens: Tokens, mask: Real | None) -> Real | None:
    """The mask as truth values; ConfigError unless it is as large as the tokens."""
    a_value_each(tokens.shape, mask=mask)
    return None if mask is None else mask.bool()


def _a(arrangement: str) -> str:
    return f"{'an' if arrangement[0] == 'e' else 'a'} {arrangement}"


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """No dropout inside the block, also where the network is in training."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        trainings = getattr(network, "trainings", 0)  # somebody may have trained it meanwhile: a stream stays open
        network.train(training)
        if isinstance(network, Network):
            network.trainings = trainings  # going back is no training


def build_network(config: ModelConfig, tensors: Mapping[str, Tensor], kind: type[Network] = Network) -> Network:
    """A network that holds exactly these tensors, without initialising weights that are replaced at once."""
    with torch.device("meta"):
        network = kind(config)
    network.load_state_dict(dict(tensors), assign=True, strict=True)
    network.eval().requires_grad_(False)
    leave_unread(network)
    return network
