"""The network: embedding, blocks, norm, head. One pre-norm transformer, shaped by ModelConfig.

network = Network(ModelConfig(vocab_size=512, dim=64, layers=2, heads=4, context=128))
logits = network(tokens)                      # [batch, seq] -> [batch, seq, vocab]
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lmworks.basics.errors import ConfigError
from lmworks.models.adaptive_softmax import AdaptiveSoftmax, Softmax
from lmworks.models.attention import Attention, Kernel, Pass
from lmworks.models.cache import Cache
from lmworks.models.config import ModelConfig
from lmworks.models.feed_forward import FeedForward
from lmworks.models.hooks import HookFunction, HookPoint, hook_points, hooked
from lmworks.models.initialisation import Scheme, initialise
from lmworks.models.linear import Product
from lmworks.models.masks import visibility
from lmworks.models.ngram_embedding import NGramEmbedding
from lmworks.models.norm import make_norm
from lmworks.models.positions import rotation

Tokens = Int[Tensor, "batch seq"]
Real = Bool[Tensor, "batch seq"]
Hidden = Float[Tensor, "batch seq dim"]
Logits = Float[Tensor, "batch seq vocab"]


class Block(nn.Module):
    """x + attention(norm x), then x + feed_forward(norm x)."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm, self.attention = make_norm(config), Attention(config, layer)
        self.feed_forward_norm, self.feed_forward = make_norm(config), FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)
        self.attention_output_point, self.feed_forward_output_point = HookPoint(), HookPoint()
        self.residual_in_point, self.residual_middle_point, self.residual_out_point = (
            HookPoint(),
            HookPoint(),
            HookPoint(),
        )

    def forward(self, x: Hidden, shared: Pass) -> Hidden:
        """The residual stream behind this block."""
        x = self.residual_in_point(x)
        x = x + self.dropout(self.attention_output_point(self.attention(self.attention_norm(x), shared)))
        x = self.residual_middle_point(x)
        x = x + self.dropout(self.feed_forward_output_point(self.feed_forward(self.feed_forward_norm(x))))
        return self.residual_out_point(x)


BlockRunner = Callable[[Block, Hidden, Pass], Hidden]


def run_plainly(block: Block, x: Hidden, shared: Pass) -> Hidden:
    """The block as it is written."""
    return block(x, shared)


def run_recomputing(block: Block, x: Hidden, shared: Pass) -> Hidden:
    """Keep only the block's input in training and compute the block again going back: slower, less memory."""
    return checkpoint(block, x, shared, use_reentrant=False) if torch.is_grad_enabled() else block(x, shared)


class Network(nn.Module):
    """A decoder: tokens in, logits for the next token out."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = _embedding(config.vocab_size, config.dim)
        self.ngram_embedding = NGramEmbedding(config.vocab_size, config.dim, config.ngrams) if config.ngrams else None
        self.position = _embedding(config.context, config.dim) if config.positions == "learned" else None
        self.blocks: Sequence[Block] = nn.ModuleList(Block(config, layer) for layer in range(config.layers))  # type: ignore[assignment]
        self.norm = make_norm(config)
        self.head = _head(config)
        self.head_product = Product()
        self.dropout = nn.Dropout(config.dropout)
        self.embedding_point, self.final_point = HookPoint(), HookPoint()
        self.attention_kernel: Kernel = "fused"
        self.run_block: BlockRunner = run_plainly
        """How a block is run; adaptation puts its fast way for adapters here."""

    @property
    def head_weight(self) -> Float[Tensor, "vocab dim"]:
        """The matrix that turns hidden states into logits; the embedding's own where tied. ConfigError for an adaptive
        softmax, which has several."""
        if isinstance(self.head, AdaptiveSoftmax):
            raise ConfigError("an adaptive softmax has no single head matrix; use network.logits or network.softmaxes")
        return self.embedding.weight if self.head is None else self.head.weight

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights, and so of the activations."""
        return self.embedding.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.weight.device

    def train(self, mode: bool = True) -> Network:
        """Training and evaluation mode; training drops packed copies of weights."""
        if mode:
            self.head_product.drop()
        return super().train(mode)

    def forward(
        self, tokens: Tokens, mask: Real | None = None, *, documents: Tokens | None = None, cache: Cache | None = None
    ) -> Logits:
        """Logits in float32. Arguments as in `hidden`."""
        return self.logits(self.hidden(tokens, mask, documents=documents, cache=cache))

    def logits(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        """The head: logits in float32; an adaptive softmax gives log-probabilities, which are logits too."""
        if isinstance(self.head, AdaptiveSoftmax):
            return self.head.log_probabilities(hidden)
        logits = self.head_product(hidden, self.head_weight).float()
        cap = self.config.logit_cap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def softmaxes(self, hidden: Float[Tensor, "rows dim"], labels: Int[Tensor, " rows"]) -> Iterable[Softmax]:
        """The cross-entropies whose sum is -log p(labels), each as (states, matrix, labels): what training minimises
        without ever holding the logits of all rows. One, but for an adaptive softmax."""
        if isinstance(self.head, AdaptiveSoftmax):
            return self.head.softmaxes(hidden, labels)
        return [(hidden, self.head_weight, labels)]

    def hidden(
        self, tokens: Tokens, mask: Real | None = None, *, documents: Tokens | None = None, cache: Cache | None = None
    ) -> Hidden:
        """The states behind the last norm.

        `mask` is False (0) on padding, left or right; positions count real tokens only. `documents` numbers the
        packed documents of each row: they don't see each other and each starts at position 0. With a `cache`
        the tokens come behind those already in it. Raises ConfigError where learned positions end.
        """
        real = None if mask is None else mask.bool()
        if documents is not None and cache is not None:
            raise ConfigError("packed documents are read without a cache; leave out one of the two")
        positions = self._positions(tokens, real, documents, cache)
        x = self.embedding(tokens)
        if self.ngram_embedding is not None:
            x = x + self._ngrams(self.ngram_embedding, tokens, positions, real, cache)
        if self.config.embedding_norm:
            x = F.rms_norm(x, x.shape[-1:], eps=self.config.norm_eps)
        if self.config.scale_embedding:
            x = x * torch.tensor(self.config.dim**0.5, dtype=x.dtype)
        if self.position is not None:
            x = x + self.position(positions)
        x = self.embedding_point(self.dropout(x))
        shared = self._shared(tokens, positions, real, documents, cache, x.dtype)
        for block in self.blocks:
            x = self.run_block(block, x, shared)
        if cache is not None:
            cache.advance(tokens, real)
        return self.final_point(self.norm(x))

    def _positions(self, tokens: Tokens, real: Real | None, documents: Tokens | None, cache: Cache | None) -> Tokens:
        """Each token's place in its own text: padding is not counted, packed documents start again at 0."""
        batch, seq = tokens.shape
        past = cache.length if cache is not None else 0
        at = torch.arange(past, past + seq, device=tokens.device).expand(batch, seq)
        before = cache.real if cache is not None else None
        if documents is not None or real is not None or before is not None:
            counted = torch.ones_like(tokens) if real is None else real.long()
            total = counted.cumsum(dim=1) + (past if before is None else before.sum(dim=1, keepdim=True))
            at = total - 1
            if documents is not None:
                starts = torch.ones_like(documents, dtype=torch.bool)
                starts[:, 1:] = documents[:, 1:] != documents[:, :-1]
                at = at - torch.where(starts, total - counted, 0).cummax(dim=1).values
            at = at.clamp(min=0)
        if self.position is not None and int(at.max()) >= self.config.context:
            raise ConfigError(
                f"the text has {int(at.max()) + 1:,} tokens and the network has learned "
                f"{self.config.context:,} positions; shorten the text"
            )
        return at

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

    def _shared(
        self,
        tokens: Tokens,
        positions: Tokens,
        real: Real | None,
        documents: Tokens | None,
        cache: Cache | None,
        dtype: torch.dtype,
    ) -> Pass:
        config, seq = self.config, tokens.shape[1]
        keys = seq + (cache.length if cache is not None else 0)
        if cache is not None and (real is not None or cache.real is not None):
            before = cache.real if cache.real is not None else tokens.new_ones(len(tokens), cache.length).bool()
            real = torch.cat([before, real if real is not None else torch.ones_like(tokens).bool()], dim=1)
        windows = {config.window_of(layer) for layer in range(config.layers)}
        sees = {window: visibility(seq, keys, window, real, documents, tokens.device) for window in windows}
        turn = rotation(config, positions, dtype) if config.positions == "rope" else None
        return Pass(turn, positions, real is not None, sees, cache, self.attention_kernel)

    def run_with_cache(self, tokens: Tokens, mask: Real | None = None) -> tuple[Logits, dict[str, Tensor]]:
        """Logits, and every activation by its hook path. The logits are those of a plain run, to the bit."""
        seen: dict[str, Tensor] = {}

        def reader(path: str) -> HookFunction:
            def read(activation: Tensor) -> None:
                seen[path] = activation.detach().clone()

            return read

        with hooked(self, {path: reader(path) for path in hook_points(self)}):
            return self(tokens, mask), seen

    def run_with_hooks(self, tokens: Tokens, hooks: Mapping[str, HookFunction], mask: Real | None = None) -> Logits:
        """Logits with functions hooked in by path; one that returns a tensor replaces the activation."""
        with hooked(self, hooks):
            return self(tokens, mask)

    def new_cache(self, batch: int = 1, capacity: int = 256) -> Cache:
        """An empty KV cache for `batch` rows."""
        return Cache(self.config, batch, capacity, self.dtype, self.device)

    def initialise(self, seed: int = 0, scheme: Scheme = "normal") -> Network:
        """Fresh weights."""
        initialise(self, self.config, seed, scheme)
        return self


def _head(config: ModelConfig) -> nn.Linear | AdaptiveSoftmax | None:
    """The head; a tied one has no parameter of its own, so there is nothing that could come untied."""
    if config.adaptive_cutoffs is not None:
        return AdaptiveSoftmax(config)
    return None if config.tied else nn.Linear(config.dim, config.vocab_size, bias=False)


def _embedding(rows: int, dim: int) -> nn.Embedding:
    """An embedding without values yet: nn.Embedding itself draws them, which on the meta device takes a second
    (it imports torch._dynamo) and is thrown away."""
    return nn.Embedding.from_pretrained(torch.zeros(rows, dim), freeze=False)


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """No dropout inside the block, also where the network is in training."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


def build_network(config: ModelConfig, tensors: Mapping[str, Tensor]) -> Network:
    """A network that holds exactly these tensors, without initialising weights that are replaced at once."""
    with torch.device("meta"):
        network = Network(config)
    network.load_state_dict(dict(tensors), assign=True, strict=True)
    return network.eval().requires_grad_(False)
