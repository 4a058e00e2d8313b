"""What a language model makes of text that is there: how likely it is, and which of its tokens and layers matter.

model.score("The capital of France is Paris.").bits_per_byte
model.attribute("The capital of France is", " Paris")
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lmworks.basics.arguments import checked, shown
from lmworks.basics.errors import ConfigError
from lmworks.generation.request import Prompt
from lmworks.language_model.writing import WritingModel
from lmworks.tokens.continuation import encode_pairs
from lmworks.tokens.source import target_ids, target_start

if TYPE_CHECKING:  # what only writes waits for none of this, nor for PyTorch
    from torch import Tensor

    from lmworks.basics.arrays import Bool, Float, Int
    from lmworks.generation.continuations import Continuation, Reading
    from lmworks.inside.attribution import Attribution
    from lmworks.inside.patching import Metric, Place

LN_2 = math.log(2)


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


class ScoringModel(WritingModel):
    """A model that is asked how likely a text is, and why."""

    @checked
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
        before = None if prompt is None else self.encode_prompt(prompt)
        continues = before is not None and (not before or self.tokenizer.goes_on_after(before))
        tokens = self.tokenizer.encode(text, special=False, continues=continues)
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
        from lmworks.generation.scoring import token_logprobs

        self.must_write()
        if not tokens:
            raise ConfigError("the text is empty; there is nothing to score")
        start = self.tokenizer.document_start
        before = prompt or ([] if start is None else [start])
        rows_adapter, lead = self.read_by(adapter)
        longest = self.longest_with(adapter)
        window = longest if window is None else min(window, longest)
        logprobs = token_logprobs(self.runner, before + tokens, window, rows_adapter, lead)[max(len(before) - 1, 0) :]
        # Without a token that opens a document nothing predicts the first one: it costs what a blind guess costs.
        return Score(tokens, logprobs if before else [-math.log(self.config.vocab_size), *logprobs], size)

    def _target_score(self, text: str, source: Prompt | None, window: int | None) -> tuple[list[int], list[float]]:
        """A target's tokens, its end included, and the log-probability of each."""
        from lmworks.generation.scoring import target_logprobs

        self.must_write()
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

    @checked
    def loglikelihood(self, pairs: Sequence[tuple[str, str]], reading: Reading | None = None) -> list[Continuation]:
        """How likely each continuation is after its context: [(context, continuation), ...]. What several texts begin
        with is read once, and `reading` then says how much that saved.

        They are cut into tokens as lm-evaluation-harness cuts them: spaces at the end of a context go to the
        continuation, and BOS (else EOS) stands for an empty context. A token that holds the context's last letters and
        the continuation's first ("hello wor", "ld") is the continuation's. A context that is too long loses its
        beginning. DataError for a continuation without a token, or with more than the model reads.
        """
        found = dict(self.continuations(encode_pairs(self.tokenizer, pairs), reading))
        return [found[number] for number in range(len(pairs))]

    def continuations(
        self, pairs: Sequence[tuple[list[int], list[int]]], reading: Reading | None = None
    ) -> Iterator[tuple[int, Continuation]]:
        """As `loglikelihood`, for ids that are at hand; each pair's number with what was found, as it is done."""
        from lmworks.generation.continuations import continuations

        self.must_converse()
        return continuations(self.runner, pairs, self.longest, reading)

    def logits(
        self, ids: Int[Tensor, "batch seq"] | Sequence[Sequence[int]], mask: Bool[Tensor, "batch seq"] | None = None
    ) -> Float[Tensor, "batch seq vocab"]:
        """Logits in float32; `mask` is False on padding, left or right."""
        import torch

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
        with self.runner.evaluating():
            return self.runner.logits(self.runner.hidden(tokens, mask))

    @checked
    def attribute(
        self,
        prompt: Prompt,
        answer: str | None = None,
        *,
        instead: str | None = None,
        method: str = "occlusion",
        steps: int | None = None,
    ) -> Attribution:
        """The share of each token of a prompt in log p(answer), the model's own first words where none is given, or in
        how much likelier it is than `instead`. A token that is away is a document's end. In float32: a model in 16 bits
        is copied for each call, so load one that is asked often with dtype="float32"."""
        from lmworks.inside.attribution import STEPS, attribute

        self.must_write()
        ids = self.encode_prompt(prompt, self.longest) if prompt else []
        continues = not ids or self.tokenizer.goes_on_after(ids)
        if answer is None and ids:
            said = self.generate(ids, max_new_tokens=8)
            answer, written = said.text, [token for token in said.tokens if token not in self.tokenizer.stop_ids]
        else:
            written = self.tokenizer.encode(answer or "", special=False, continues=continues)
        other = None if instead is None else self.tokenizer.encode(instead, special=False, continues=continues)
        found = attribute(
            self.network,
            ids,
            written,
            instead=other,
            away=self.tokenizer.document_end,
            method=method,
            steps=steps or STEPS,
        )
        pieces = tuple(self.tokenizer.decode([one], skip_special=False) for one in ids)
        return replace(found, pieces=pieces, answer=answer or "")

    @checked
    def patch(
        self, clean: Prompt, corrupt: Prompt, metric: str | tuple[str, str] | Metric, *, place: Place = "residual_in"
    ) -> Float[Tensor, "layers places"]:
        """The share of the difference between two prompts of as many tokens that each layer carries at each token, or
        each head (`inside.patching`), in float32 as `attribute`. `metric` is an answer, by its first token's
        log-probability, two answers, by how much likelier the first token of one is, or a function of the logits."""
        from lmworks.inside.patching import difference, log_probability, patch

        self.must_write()
        kept, changed = (self.encode_prompt(text, self.longest) for text in (clean, corrupt))
        continues = self.tokenizer.goes_on_after(kept)
        if isinstance(metric, str):
            if not (start := self.tokenizer.encode(metric, special=False, continues=continues)):
                raise ConfigError("the answer is empty; give one with at least one token")
            metric = log_probability(start[0])
        elif isinstance(metric, tuple | list):
            first = [self.tokenizer.encode(text, special=False, continues=continues)[:1] for text in metric]
            if first[0] == first[1] or not all(first):
                raise ConfigError(
                    f"the answers {metric[0]!r} and {metric[1]!r} begin with the same token, or with none"
                )
            metric = difference(first[0][0], first[1][0])
        elif not callable(metric):
            raise ConfigError(
                f"metric is {shown(metric)}; give an answer, ' Paris', two answers, (' Paris', ' Rome'), or a function "
                "of logits"
            )
        return patch(self.network, kept, changed, metric, place=place)
