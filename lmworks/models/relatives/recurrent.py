"""Recurrent networks: a language model, or an encoder-decoder with attention, of LSTM, GRU or tanh cells.

network = RecurrentNetwork(RecurrentConfig(vocab_size=512, dim=256, layers=2, context=128))
logits = translator(tokens, memory=translator.encode(source))       # arrangement="encoder-decoder"

To whoever trains it or writes with it, it is a Network. What a decoder attends to, and how, is as in Luong et al. 2015
(https://arxiv.org/abs/1508.04025, sections 3.1 and 3.3), with the score of Bahdanau et al. 2014
(https://arxiv.org/abs/1409.0473, appendix A.1.2) as one of three:

    score(h, s) = h s  |  h W s  |  v tanh(W h + U s)        a = softmax(score)        tanh(C [sum a s; h])

Bahdanau's decoder attends with the state before the step; this one with the state after it, as Luong's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lmworks.basics.arrays import Float, Int
from lmworks.basics.errors import ConfigError
from lmworks.models.cache import Cache
from lmworks.models.dropout import Dropout
from lmworks.models.embedding_table import IDS, blank_embedding, looked_up
from lmworks.models.hooks import HookPoint
from lmworks.models.linear import Product
from lmworks.models.masks import memory_visibility
from lmworks.models.memory import Memory
from lmworks.models.network import Network, real_tokens
from lmworks.models.relatives.recurrence import Hidden, Recurrence, Runs, State, initialise_cells
from lmworks.models.relatives.recurrent_config import RecurrentConfig
from lmworks.models.scheme import Scheme
from lmworks.models.stack import Real, Tokens

SMALL = 0.1
"""Embeddings are drawn from [-0.1, 0.1] (Zaremba et al. 2014, https://arxiv.org/abs/1409.2329)."""


class RecurrentMemory(Memory):
    """An encoder's states of source texts, and the state that the decoder begins with for each."""

    def __init__(
        self, states: Float[Tensor, "sources source dim"], real: Real | None, first: State, readers: int = 1
    ) -> None:
        super().__init__(states, real, readers)
        self.first = first

    def keep(self, rows: Int[Tensor, " rows"]) -> RecurrentMemory:
        """For these rows, in this order."""
        kept = super().keep(rows)
        sources = (rows // self.readers)[:: kept.readers]
        mine = RecurrentMemory(kept.states, kept.real, self.first.index_select(2, sources), kept.readers)
        mine._projected = kept._projected
        return mine

    def join(self, other: Memory) -> RecurrentMemory:
        """Both, this one's rows first."""
        assert isinstance(other, RecurrentMemory)
        joined = super().join(other)
        first = [one.first.repeat_interleave(one.readers // joined.readers, 2) for one in (self, other)]
        both = RecurrentMemory(joined.states, joined.real, torch.cat(first, 2), joined.readers)
        both._projected = joined._projected
        return both


class RecurrentCache(Cache):
    """The state after the tokens read so far; with input feeding, also what the attention gave for the last of
    them."""

    def __init__(self, tokens: Tokens, memory: Memory | None = None) -> None:
        self.length, self.memory, self.tokens, self.real = 0, memory, tokens, None
        self._keys, self._values = [], []
        self.adapters = [None] * len(tokens)
        self.state: State | None = None
        """None where it has to be made of the tokens: before the first, and after `truncate`."""
        self.fed: Float[Tensor, "batch dim"] | None = None

    def truncate(self, length: int) -> None:
        """Forget everything after the first `length` tokens; a state cannot be taken back, so they are read again."""
        if length < self.length:
            self.state = self.fed = None
        super().truncate(length)

    def cut(self, counts: Sequence[int]) -> None:
        """Forget the last tokens of each row; a state cannot be taken back, so the others are read again."""
        if any(counts):
            self.state = self.fed = None
        super().cut(counts)

    def join(self, other: Cache) -> None:
        """Append another cache's rows to these."""
        assert isinstance(other, RecurrentCache)
        states, fed = (self.state, other.state), (self.fed, other.fed)
        super().join(other)
        self.state = None if states[0] is None or states[1] is None else torch.cat([states[0], states[1]], 2)
        self.fed = None if self.state is None or fed[0] is None or fed[1] is None else torch.cat([fed[0], fed[1]])

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only these rows of the batch, in this order."""
        super().keep(rows)
        chosen = self._rows(rows)
        self.state = None if self.state is None else self.state.index_select(2, chosen)
        self.fed = None if self.fed is None else self.fed.index_select(0, chosen)

    @property
    def bytes(self) -> int:
        """Memory held by the state."""
        return sum(one.numel() * one.element_size() for one in (self.state, self.fed) if one is not None)


class SourceAttention(nn.Module):
    """What a decoder's states find in the source, joined with these states."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        width = config.hidden_dim
        self.key = None if config.attention == "dot" else nn.Linear(width, width, bias=False)
        self.query = nn.Linear(width, width, bias=False) if config.attention == "additive" else None
        self.score = nn.Linear(width, 1, bias=False) if config.attention == "additive" else None
        self.output = nn.Linear(2 * width, config.dim, bias=False)
        self.scores_point, self.pattern_point, self.mixed_point = HookPoint(), HookPoint(), HookPoint()

    def forward(self, states: Hidden, memory: Memory) -> Float[Tensor, "batch seq dim"]:
        """tanh(C [context; state]). The pattern has the shape of a transformer's with one head, [batch, 1, seq,
        source]."""
        keys, values = memory.projected(0, lambda source: (source if self.key is None else self.key(source), source))
        shared = (-1, memory.readers)  # neighbouring rows that read one source look at it together
        scores = self._scores(states.unflatten(0, shared).flatten(1, 2), keys)
        sees = memory_visibility(memory.real)
        if sees.mask is not None:
            scores = scores.masked_fill(~sees.mask[:, 0], -torch.inf)
        scores = self.scores_point(scores.unflatten(1, (memory.readers, -1)).flatten(0, 1)[:, None])
        pattern = self.pattern_point(torch.softmax(scores, dim=-1))[:, 0]
        mixed = pattern.unflatten(0, shared).flatten(1, 2) @ values
        mixed = self.mixed_point(mixed.unflatten(1, (memory.readers, -1)).flatten(0, 1))
        return torch.tanh(self.output(torch.cat([mixed, states], dim=-1)))

    def _scores(self, states: Hidden, keys: Float[Tensor, "batch source hidden"]) -> Float[Tensor, "batch seq source"]:
        if self.query is None or self.score is None:
            return states @ keys.transpose(1, 2)
        return self.score(torch.tanh(self.query(states)[:, :, None] + keys[:, None]))[..., 0]


class RecurrentNetwork(Network):
    """A decoder (tokens in, logits for the next token out), or an encoder-decoder, as its config says."""

    config: RecurrentConfig  # type: ignore[assignment]
    encoder: Recurrence | None  # type: ignore[assignment]

    def __init__(self, config: RecurrentConfig) -> None:
        nn.Module.__init__(self)
        self.config = config
        two, attends = config.arrangement == "encoder-decoder", config.attention != "none"
        self.embedding = blank_embedding(config.vocab_size, config.dim)
        shape = (config.hidden_dim, config.layers, config.dropout)
        self.encoder = Recurrence(config.cell, config.dim, *shape, config.bidirectional) if two else None
        self.decoder = Recurrence(config.cell, config.dim * (2 if config.input_feeding else 1), *shape)
        self.cross_attention = SourceAttention(config) if attends else None
        narrows = not attends and config.hidden_dim != config.dim
        self.output = nn.Linear(config.hidden_dim, config.dim, bias=False) if narrows else None
        self.head = None if config.tied else nn.Linear(config.dim, config.vocab_size, bias=False)
        self.head_product = Product()
        self.head_bias = nn.Parameter(torch.zeros(config.vocab_size)) if config.head_bias else None
        self.head_transform = self.ngram_embedding = self.pooler = self.classifier = self.prompt = None
        self.dropout = Dropout(config.dropout)
        self.embedding_point, self.final_point = HookPoint(), HookPoint()

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
    ) -> Float[Tensor, "batch seq dim"]:
        """What the head reads. Arguments and errors as a Network's; packed `documents` each begin with a fresh
        state."""
        if segments is not None:
            raise ConfigError("a recurrent network has no segment embeddings; leave segments out")
        if prefix is not None:
            raise ConfigError("a recurrent network reads from left to right and sees no later token; leave prefix out")
        if cache is not None and not isinstance(cache, RecurrentCache):
            raise ConfigError("the cache is a transformer's; make one with this network's new_cache")
        real = real_tokens(tokens, mask)
        memory = self._memory(tokens, documents, cache, memory)
        if cache is not None and cache.state is None and cache.length:
            before, cache.length, seen = cache.tokens, 0, cache.real
            cache.tokens, cache.real = before[:, :0], None
            self.hidden(before, seen, cache=cache, memory=memory)
        state, fed = (
            self._begin(len(tokens), memory) if cache is None or cache.state is None else (cache.state, cache.fed)
        )
        x = self.embedding_point(self.dropout(looked_up(self.embedding, tokens, IDS)))
        if fed is None:
            out, state = self.decoder(x, state, Runs.of(real, documents, tokens))
            out = self._attended(out, memory)
        else:
            out, state, fed = self._step_by_step(x, real, state, fed, memory)
        if cache is not None:
            cache.state, cache.fed = state, fed
            cache.advance(tokens, real)
        return self.final_point(self.dropout(out))

    def encode(self, source: Tokens, mask: Real | None = None) -> RecurrentMemory:
        """What an encoder-decoder's encoder makes of a source text, for `hidden`; `mask` is False on padding."""
        if self.encoder is None:
            raise ConfigError("the network is a decoder and has no encoder for a source; give the text as tokens")
        real = real_tokens(source, mask)
        x = self.dropout(looked_up(self.embedding, source, IDS))
        states, last = self.encoder(x, self._zeros(len(source)), Runs.of(real, None, source))
        return RecurrentMemory(states, real, last)

    def new_cache(self, batch: int = 1, capacity: int = 256, memory: Memory | None = None) -> RecurrentCache:
        """An empty cache for `batch` rows; its size does not grow with the text, whatever the `capacity`."""
        return RecurrentCache(torch.empty(batch, 0, dtype=torch.long, device=self.device), memory)

    def initialise(self, seed: int = 0, scheme: Scheme = "normal") -> RecurrentNetwork:
        """Fresh weights. ConfigError for a scheme that is a transformer's."""
        if scheme != "normal":
            raise ConfigError(f"initialisation = {scheme!r} is for a transformer's residual stream; leave it out")
        generator = torch.Generator().manual_seed(seed)
        initialise_cells(self, generator)
        for module in self.modules():
            if isinstance(module, nn.Linear) and module is not self.head:
                nn.init.xavier_uniform_(module.weight, generator=generator)
        for matrix in [self.embedding.weight] if self.head is None else [self.embedding.weight, self.head_weight]:
            nn.init.uniform_(matrix, -SMALL, SMALL, generator=generator)
        return self

    def _begin(self, batch: int, memory: Memory | None) -> tuple[State, Float[Tensor, "batch dim"] | None]:
        """The first state, and what the attention gave before the first step."""
        state = self._zeros(batch)
        if isinstance(memory, RecurrentMemory):
            state = memory.first.repeat_interleave(memory.readers, dim=2)
        return state, self.embedding.weight.new_zeros(batch, self.config.dim) if self.config.input_feeding else None

    def _zeros(self, batch: int) -> State:
        parts = 2 if self.config.cell == "lstm" else 1
        return self.embedding.weight.new_zeros(parts, self.config.layers, batch, self.config.hidden_dim)

    def _attended(self, out: Hidden, memory: Memory | None) -> Float[Tensor, "batch seq dim"]:
        if self.cross_attention is not None and memory is not None:
            return self.cross_attention(out, memory)
        return out if self.output is None else self.output(out)

    def _step_by_step(
        self, x: Hidden, real: Real | None, state: State, fed: Float[Tensor, "batch dim"], memory: Memory | None
    ) -> tuple[Hidden, State, Float[Tensor, "batch dim"]]:
        """Each step also reads what the attention gave at the one before; padding leaves state and that alone."""
        steps = []
        for at, read in enumerate(x.unbind(1)):
            out, following = self.decoder(torch.cat([read, fed], dim=-1)[:, None], state)
            out = self._attended(out, memory)[:, 0]
            if real is None:
                state, fed = following, out
            else:
                here = real[:, at, None]
                state, fed = torch.where(here, following, state), torch.where(here, out, fed)
            steps.append(out)
        return torch.stack(steps, dim=1), state, fed
