"""Request: everything that is asked of one answer, checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal, NamedTuple, Protocol

from lmworks.basics.errors import ConfigError
from lmworks.generation.constraints import Constraint, Guide
from lmworks.generation.guessing import Guesser
from lmworks.generation.limits import Finish, ForcedTokens, Limits
from lmworks.generation.strategies import Beam, Contrastive, Strategy
from lmworks.tokens.tokenizer import Tokenizer

Message = Mapping[str, str]
Prompt = str | Sequence[Message] | Sequence[int]
"""Text to continue, a conversation to answer ([{"role": "user", "content": "..."}]), or token ids to continue; for an
encoder-decoder the source, as text or ids."""


class WithImages(list[int]):
    """The token ids of a prompt that shows images, as `model.with_images` makes it: those past the vocabulary stand for
    what the model sees. A list of ids from anywhere else must not name any."""

    known_caption: Constraint | None = None
    """Holds an answer to a caption that the model knows, where the prompt is one image without words."""


Window = Literal["stop", "slide"]
"""What happens at the end of the context: the answer ends (finish "window"), or the window slides."""
SHORTEST = 16
"""Tokens of the smallest context that a window can slide over."""
OR_SLIDE = ', or let the window slide (window="slide", --window slide)'
"""What ends the sentence on a prompt that is too long."""


def without_sliding(error: Exception) -> str:
    """What an error says, for those who have no word for a window that slides."""
    return str(error).removesuffix(OR_SLIDE)


class LogprobOptions(NamedTuple):
    """Which log-probabilities are wanted besides the tokens."""

    top: int = 0
    """Those of this many most probable tokens in place of each written one."""
    prompt: bool = False
    """Those of the prompt's tokens, too."""
    written: bool = True
    """Those of the tokens that are written; 0.07 ms a token for a vocabulary of 49,152."""


class Guess(Protocol):
    """A way to guess tokens (`guessing.py`)."""

    def start(self, strategy: Strategy, seed: int | None, tokenizer: Tokenizer) -> Guesser:
        """A guesser for one answer, whose `seed` it follows. ConfigError for another vocabulary."""


@dataclass(eq=False)
class Request:
    """What is asked of one answer. ConfigError for what does not fit together. Its guide and its guesser have a
    state, so that each request is run once."""

    tokenizer: Tokenizer
    prompt: list[int]
    """What a decoder reads first; of an encoder-decoder, the token that opens a target."""
    strategy: Strategy
    max_new_tokens: int
    stop: Sequence[str]
    """Texts that end it."""
    context: int
    """Tokens that the network reads."""
    _: KW_ONLY
    vocab_size: int | None = None
    """Of the network; None for the tokenizer's."""
    source: list[int] | None = None
    """What the encoder of an encoder-decoder reads."""
    forced: ForcedTokens = field(default_factory=ForcedTokens)
    """What the model's own files force or forbid."""
    logprobs: LogprobOptions = field(default_factory=LogprobOptions)
    constraint: Constraint | None = None
    guess: Guess | None = None
    adapter: str | None = None
    """The adapter that reads and writes it, by its name; None for the model as it is."""
    lead: int = 0
    """Tokens that its prompt begins with and that stand for a trained prompt's vectors: nobody sees or counts them."""
    window: Window = "stop"
    """At the end of the context the text ends ("window"), or the window slides: the first 4 tokens and the last half
    of it go on."""
    echo: bool = False
    """Its prompt is given back before the answer, which may be empty then."""
    skips_space: bool = False
    """White space before the first character is left out, and no text of `stop` begins in it. Not for beams."""
    limits: Limits = field(init=False)
    seed: int | None = field(init=False)
    """Of its random numbers; None where nothing is drawn."""
    guide: Guide | None = field(init=False, default=None)
    """Holds it to its constraint."""
    guesser: Guesser | None = field(init=False, default=None)
    """Guesses tokens that are read together with the last one."""

    def __post_init__(self) -> None:
        self._must_fit_together()
        self._must_fit_the_context()
        room = self.max_new_tokens if self.slides else self.context - len(self.prompt)
        at_longest: Finish = "length" if self.max_new_tokens <= room else "window"
        self.limits = Limits(self.tokenizer.stop_ids, min(self.max_new_tokens, room), at_longest, self.forced)
        self.seed = self.strategy.new_seed()
        if self.constraint is not None:
            self.guide = self.constraint.start(self.tokenizer, self.vocab_size or self.tokenizer.vocab_size)
        if self.guess is not None:
            self.guesser = self.guess.start(self.strategy, self.seed, self.tokenizer)

    @property
    def words(self) -> list[int]:
        """The prompt's tokens without what stands for images: what penalties and guesses look back at."""
        most = self.vocab_size or self.tokenizer.vocab_size
        return self.prompt if max(self.prompt) < most else [one for one in self.prompt if one < most]

    @property
    def counted(self) -> int:
        """Tokens of the prompt, or of the source, as whoever asks counts them."""
        return len(self.source or self.prompt) - self.lead

    @property
    def slides(self) -> bool:
        """Whether a window slides over the text."""
        return self.window == "slide"

    @property
    def rows(self) -> int:
        """Rows of a cache that it needs at once."""
        if isinstance(self.strategy, Beam):
            return self.strategy.width
        return self.strategy.top_k if isinstance(self.strategy, Contrastive) else 1

    def _must_fit_together(self) -> None:
        strategy, logprobs = self.strategy, self.logprobs
        if self.max_new_tokens < (0 if self.echo or logprobs.prompt else 1):
            raise ConfigError(f"max_new_tokens is {self.max_new_tokens}; give at least 1")
        if logprobs.top and not logprobs.written:
            raise ConfigError(
                f"the {logprobs.top} most probable tokens are asked for without log-probabilities; ask for both"
            )
        if isinstance(strategy, Beam):
            if logprobs.top or logprobs.prompt:
                raise ConfigError("beams tell the log-probabilities of their own tokens alone; ask for no others")
            if self.constraint is not None or self.guess is not None:
                what = "a constraint follows" if self.constraint is not None else "guesses are for"
                raise ConfigError(f"{what} one answer that is written token by token; take Greedy or Sample")
        if self.lead and (self.slides or logprobs.prompt or isinstance(strategy, Contrastive)):
            what = "the log-probabilities of a prompt" if logprobs.prompt else "contrastive search"
            what = "a window that slides" if self.slides else what
            raise ConfigError(
                f"an adapter that is a trained prompt does not go with {what}; load it by itself for this"
            )
        if self.guess is not None and isinstance(strategy, Contrastive):
            raise ConfigError("contrastive search reads all its candidates and guesses none; leave one of the two out")

    def _must_fit_the_context(self) -> None:
        source, context = self.source, self.context
        if not self.prompt or source == []:
            raise ConfigError("the prompt is empty; give at least one token to continue")
        if self.slides and (
            source is not None
            or isinstance(self.strategy, Beam | Contrastive)
            or self.logprobs.prompt
            or context < SHORTEST
        ):
            raise ConfigError(
                f"a window slides over one text that is written token by token, of {SHORTEST} tokens or more, whose "
                "prompt is not judged; take Greedy or Sample with a decoder, or let the answer end there"
            )
        least = len(self.prompt) + min(self.max_new_tokens, 1)
        for what, size in (("prompt", least), ("source", len(source or ()))):
            if size > context and not self.slides:
                read = size if what == "source" else len(self.prompt) - self.lead
                hint = "" if source is not None or self.lead else OR_SLIDE
                raise ConfigError(
                    f"the {what} has {read:,} tokens and the model reads {context - self.lead:,}; shorten it{hint}"
                )
