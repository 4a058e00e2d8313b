"""What a language model writes: a text's continuation, an answer in a conversation, a translation.

model.generate("Once upon a time", Sample(temperature=0.8, seed=1), max_new_tokens=40)
for piece in model.stream([{"role": "user", "content": "Hello!"}]): ...
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

from lmworks.basics.arguments import checked
from lmworks.basics.errors import ConfigError
from lmworks.generation.answer import Answer
from lmworks.generation.constraints import Constraint
from lmworks.generation.decoding import decode, start
from lmworks.generation.request import Guess, LogprobOptions, Prompt, Request, Window, WithImages
from lmworks.generation.strategies import Strategy
from lmworks.generation.tool_calls import Tools
from lmworks.language_model.parts import ModelParts
from lmworks.text.tool import Tool
from lmworks.tokens.chat.conversation import encode_chat
from lmworks.tokens.languages import in_language, language_token
from lmworks.tokens.source import source_ids, target_start


class WritingModel(ModelParts):
    """A model that is asked for text."""

    @checked
    def generate(
        self,
        prompt: Prompt,
        strategy: Strategy | None = None,
        *,
        images: Sequence[Any] | Any | None = None,
        max_new_tokens: int = 256,
        stop: str | Sequence[str] = (),
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
        [answer] = self.generate_batch(
            [self.with_images(prompt, images)],
            strategy,
            max_new_tokens=max_new_tokens,
            stop=stop,
            constraint=constraint,
            tools=tools,
            guess=guess,
            window=window,
            adapter=adapter,
        )
        return answer

    @checked
    def stream(
        self,
        prompt: Prompt,
        strategy: Strategy | None = None,
        *,
        images: Sequence[Any] | Any | None = None,
        max_new_tokens: int = 256,
        stop: str | Sequence[str] = (),
        constraint: Constraint | None = None,
        tools: Tools | None = None,
        guess: Guess | None = None,
        window: Window = "stop",
        adapter: str | None = None,
    ) -> Iterator[str]:
        """Pieces of text as they come; joined they are what `generate` returns. What is wrong with the request is said
        at once, and not when the first piece is taken."""
        request = self.request(
            self.with_images(prompt, images),
            strategy,
            max_new_tokens,
            stop,
            constraint=constraint,
            tools=tools,
            guess=guess,
            window=window,
            adapter=adapter,
        )
        return self._pieces(request)

    def _pieces(self, request: Request) -> Iterator[str]:
        for _, shown in decode(self.runner, [start(request, self.runner)]):
            if shown:
                yield shown

    @checked
    def generate_batch(
        self,
        prompts: Sequence[Prompt],
        strategy: Strategy | Sequence[Strategy] | None = None,
        *,
        max_new_tokens: int = 256,
        stop: str | Sequence[str] = (),
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
        requests = [
            self.request(
                prompt,
                one,
                max_new_tokens,
                stop,
                constraint=constraint,
                tools=tools,
                guess=guess,
                window=window,
                adapter=name,
            )
            for prompt, one, name in zip(prompts, strategies, adapters, strict=True)
        ]
        sequences = [start(request, self.runner) for request in requests]
        for _ in decode(self.runner, sequences):
            pass
        return [Answer.of(sequence) for sequence in sequences]

    @checked
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

    def request(  # noqa: PLR0913 (all that is asked of one answer)
        self,
        prompt: Prompt,
        strategy: Strategy | None = None,
        max_new_tokens: int = 256,
        stop: str | Sequence[str] = (),
        *,
        logprobs: LogprobOptions = LogprobOptions(),
        constraint: Constraint | None = None,
        tools: Tools | None = None,
        guess: Guess | None = None,
        window: Window = "stop",
        adapter: str | None = None,
        echo: bool = False,
    ) -> Request:
        """What is asked, checked against the model: what `decode` and an `Engine` run."""
        self.must_write()
        rows_adapter, lead = self.read_by(adapter)
        if tools is not None and constraint is not None:
            raise ConfigError("tools and a constraint both say the form of the answer; leave one of them out")
        shown = () if tools is None or _ids_of(prompt) is not None else tools.shown
        read = self.encode_prompt(prompt, self.longest if window == "stop" else None, shown)
        said = self.generation_config
        largest, smallest = max(read, default=0), min(read, default=0)
        if smallest < 0 or (largest >= self.config.vocab_size and not isinstance(prompt, WithImages)):
            raise ConfigError(
                f"the prompt names the token {largest if smallest >= 0 else smallest:,}, and the vocabulary has "
                f"{self.config.vocab_size:,}; encode the text with this model's tokenizer"
            )
        chosen = strategy or said.strategy
        chosen.check_logit_bias(self.config.vocab_size)
        return Request(
            self.tokenizer,
            [target_start(self.tokenizer)] if self.translates else lead + read,
            chosen,
            max_new_tokens,
            [stop] if isinstance(stop, str) else list(stop),
            self.longest,
            vocab_size=self.config.vocab_size,
            source=read if self.translates else None,
            forced=said.forced,
            logprobs=logprobs,
            constraint=constraint if tools is None else tools.constraint,
            guess=guess,
            window=window,
            adapter=rows_adapter,
            lead=len(lead),
            echo=echo,
        )

    def encode_prompt(self, prompt: Prompt, most: int | None = None, tools: Sequence[Tool] = ()) -> list[int]:
        """The ids that the model reads: a text as it is (with BOS where the tokenizer adds one), a conversation by
        the chat template, which shows `tools` where there are any; a source with its end. ConfigError, before it is
        tokenized, for a text that certainly has more than `most` tokens."""
        ids = _ids_of(prompt)
        if tools and (isinstance(prompt, str) or ids is not None):
            raise ConfigError("tools are shown to a model in a conversation; give messages, not a text or tokens")
        if isinstance(prompt, str):
            self.tokenizer.must_fit(prompt, most, "source" if self.translates else "prompt")
            read = source_ids(self.tokenizer, prompt) if self.translates else self.tokenizer.encode(prompt)
            return read or [self.tokenizer.document_start or 0]
        if ids is not None:
            return ids
        if all(isinstance(one, str) for one in prompt):
            raise ConfigError(
                f"one prompt is asked for, and this is a list of {len(prompt):,} texts; give one text, or take "
                "generate_batch"
            )
        self.must_converse()
        return encode_chat(
            self.tokenizer,
            [dict(one) if isinstance(one, Mapping) else one for one in prompt],  # type: ignore[misc]
            add_generation_prompt=True,
            most=most,
            tools=tools,
        )

    def with_images(self, prompt: Prompt, images: Sequence[Any] | Any | None) -> Prompt:
        """A prompt as it is. ConfigError for images, which are for a model that reads them (SeeingModel,
        DrawingModel)."""
        if images is not None:
            self.must_write()  # what a model of images alone is, is another sentence
            raise ConfigError(
                f"{self.reference or 'the model'} reads texts and no images; take a model that `lmworks train "
                "emoji-captions` made"
            )
        return prompt


def _ids_of(prompt: Prompt) -> list[int] | None:
    """A prompt of token ids as a list, whatever holds them: a list, an array, a tensor. None for any other."""
    if isinstance(prompt, str | WithImages):
        return prompt if isinstance(prompt, WithImages) else None
    given: Any = prompt.tolist() if hasattr(prompt, "tolist") else prompt
    if not isinstance(given, Sequence) or not all(isinstance(token, int | Integral) for token in given):
        return None
    return [int(token) for token in given]
