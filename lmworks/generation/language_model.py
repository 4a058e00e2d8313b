"""LanguageModel: a network and its tokenizer, with what people do with them.

model = LanguageModel.load("smollm2")
print(model.generate("Once upon a time", Sample(temperature=0.8, seed=1), max_new_tokens=40))
vectors = LanguageModel.load("minilm").embed(["a cat", "a dog"])
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmworks.basics.errors import ConfigError
from lmworks.basics.files import directory_written_whole, write_json
from lmworks.basics.gguf_file import GGUFFile
from lmworks.generation.decoding import Finish, Request, decode, new_request
from lmworks.generation.embedding import Pooling, embed
from lmworks.generation.strategies import Greedy, Strategy
from lmworks.models.config import ModelConfig
from lmworks.models.directory import read_network, refuse_foreign_files, write_network
from lmworks.models.gguf import read_gguf_network, stored_dtype
from lmworks.models.network import Network, evaluating
from lmworks.models.precision import dtype_of, fast_dtype
from lmworks.models.references import resolve
from lmworks.tokens.tokenizer import Tokenizer

Message = Mapping[str, str]
Prompt = str | Sequence[Message] | Sequence[int]
"""Text to continue, a conversation to answer ([{"role": "user", "content": "..."}]), or token ids to continue."""


class Answer(str):
    """Generated text that knows how it came about."""

    prompt: list[int]
    """Token ids that the model read."""
    tokens: list[int]
    """Token ids that it wrote, the one that ended the answer included."""
    logprobs: list[float]
    """Natural log-probability of each written token under the model, before filters."""
    finish: Finish
    """Why it ended: stop, length or window."""
    seed: int | None
    """What reproduces it; None for greedy."""

    @classmethod
    def of(cls, request: Request) -> Answer:
        """The answer of a finished request."""
        answer = cls(request.text)
        answer.prompt, answer.tokens, answer.logprobs = request.prompt, request.tokens, request.logprobs
        answer.finish, answer.seed = request.finish or "stop", request.chooser.seed
        return answer

    @property
    def text(self) -> str:
        """The text as a plain string."""
        return str.__str__(self)


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
        self.reference = reference or (str(source) if source else None)
        self.exact = exact
        """Embed in the weights' own format, and not in the processor's fast one; `load` with a `dtype` says so."""

    @classmethod
    def load(
        cls, reference: str | os.PathLike[str], *, dtype: str | torch.dtype | None = None, device: str = "cpu"
    ) -> LanguageModel:
        """Load an alias, a directory, a .gguf file or hf:org/name.

        `dtype` None takes what the file holds; quantised weights become bfloat16 where the processor multiplies it
        natively, else float32. Raises ModelError with one sentence for whatever is wrong with the files.
        """
        path, wanted = resolve(str(reference)), dtype_of(dtype)
        if path.suffix == ".gguf":
            file = GGUFFile(path)
            network = read_gguf_network(file, wanted or stored_dtype(file) or fast_dtype(device))
            tokenizer = Tokenizer.from_gguf(file)
        else:
            network, tokenizer = read_network(path, wanted), Tokenizer.load(path)
        return cls(network.to(device), tokenizer, path, str(reference), exact=wanted is not None)

    @property
    def config(self) -> ModelConfig:
        """What shapes the network."""
        return self.network.config

    def save(self, folder: str | os.PathLike[str], facts: Mapping[str, Any] | None = None) -> Path:
        """Write a Hugging Face directory that transformers and vLLM load; `facts` go into lmworks.json.

        The directory is complete or not there; one that holds anything else than a model is refused.
        """
        folder = Path(folder)
        refuse_foreign_files(folder)
        with directory_written_whole(folder) as temporary:
            write_network(temporary, self.network)
            self.write_tokenizer(temporary)
            own = {} if self.config.causal else {"pooling": self.pooling.model_dump()}
            write_json(temporary / "lmworks.json", {"source": self.reference, **own, **(facts or {})})
        return folder

    def write_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer's files and generation_config.json into an existing folder."""
        self.tokenizer.save(folder)
        ends = sorted(self.tokenizer.stop_ids)
        write_json(
            folder / "generation_config.json",
            {"bos_token_id": self.tokenizer.bos, "eos_token_id": ends, "pad_token_id": self.tokenizer.pad},
        )

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """The ids that the model reads: a text as it is (with BOS where the tokenizer adds one), a conversation by
        the chat template."""
        if isinstance(prompt, str):
            return self.tokenizer.encode(prompt) or [self.tokenizer.document_start or 0]
        if all(isinstance(token, int) for token in prompt):
            return [token for token in prompt if isinstance(token, int)]
        return self.tokenizer.encode_chat(
            [dict(message) for message in prompt if isinstance(message, Mapping)], add_generation_prompt=True
        )

    def stream(
        self, prompt: Prompt, strategy: Strategy | None = None, *, max_new_tokens: int = 256, stop: Sequence[str] = ()
    ) -> Iterator[str]:
        """Pieces of text as they come; joined they are what `generate` returns."""
        request = self._request(prompt, strategy, max_new_tokens, stop)
        for _, shown in decode(self.network, [request], self.tokenizer.stop_ids):
            if shown:
                yield shown

    def generate(
        self, prompt: Prompt, strategy: Strategy | None = None, *, max_new_tokens: int = 256, stop: Sequence[str] = ()
    ) -> Answer:
        """The whole answer; greedy unless a strategy is given."""
        return self.generate_batch([prompt], strategy, max_new_tokens=max_new_tokens, stop=stop)[0]

    def generate_batch(
        self,
        prompts: Sequence[Prompt],
        strategy: Strategy | Sequence[Strategy] | None = None,
        *,
        max_new_tokens: int = 256,
        stop: Sequence[str] = (),
    ) -> list[Answer]:
        """Several answers at once, each step shared; one strategy for all, or one for each."""
        strategies = strategy if isinstance(strategy, Sequence) else [strategy] * len(prompts)
        if len(strategies) != len(prompts):
            raise ConfigError(
                f"there are {len(prompts)} prompts and {len(strategies)} strategies; give one for all, or one for each"
            )
        requests = [
            self._request(prompt, one, max_new_tokens, stop) for prompt, one in zip(prompts, strategies, strict=True)
        ]
        for _ in decode(self.network, requests, self.tokenizer.stop_ids):
            pass
        return [Answer.of(request) for request in requests]

    def embed(self, texts: Sequence[str], *, pooling: Pooling | None = None, cut: bool = False) -> Tensor:
        """A vector for each text, [texts, dim] in float32, pooled as the model's folder says unless `pooling` does.

        Multiplied in bfloat16 where the processor does so natively, unless the model was loaded with a `dtype`: cosines
        with float32 are above 0.9999. DataError for a text that is longer than the model reads, unless it may be `cut`.
        """
        if self.network.encoder is not None:
            raise ConfigError("an encoder-decoder has no pooled states; embed with an encoder or a decoder")
        dtype = torch.float32 if self.exact else fast_dtype(self.network.device)
        return embed(self.network, self.tokenizer, texts, pooling or self.pooling, cut=cut, dtype=dtype)

    @property
    def pooling(self) -> Pooling:
        """How the folder that the model came from says that states become one vector."""
        return Pooling.read(self.source) if self.source is not None and self.source.is_dir() else Pooling()

    def must_write(self) -> None:
        """ConfigError unless the network predicts each next token from those before it."""
        if self.config.arrangement != "decoder":
            raise ConfigError(
                f"{self.reference or 'the network'} is an {self.config.arrangement} and does not write or score text token "
                "by token; an encoder embeds texts (model.embed)"
            )

    def _request(self, prompt: Prompt, strategy: Strategy | None, max_new_tokens: int, stop: Sequence[str]) -> Request:
        self.must_write()
        if isinstance(stop, str):
            stop = [stop]
        return new_request(
            self.tokenizer, self.encode_prompt(prompt), strategy or Greedy(), max_new_tokens, stop, self.config.context
        )

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
            return self.network(tokens, mask)

    def score(self, text: str, *, window: int | None = None) -> Score:
        """Log-probability of every token of a text. Longer texts than the window are read in windows that overlap
        by a quarter; each token is scored once, with at least that much text before it."""
        return self.score_tokens(self.tokenizer.encode(text, special=False), len(text.encode()), window=window)

    def score_tokens(self, tokens: list[int], size: int, *, window: int | None = None) -> Score:
        """As `score`, for ids that are at hand; `size` is their text's length in bytes."""
        from lmworks.generation.scoring import token_logprobs

        self.must_write()
        if not tokens:
            raise ConfigError("the text is empty; there is nothing to score")
        start = self.tokenizer.document_start
        ids = tokens if start is None else [start, *tokens]
        window = self.config.context if window is None else min(window, self.config.context)
        logprobs = token_logprobs(self.network, ids, window)
        # Without a token that opens a document nothing predicts the first one: it costs what a blind guess costs.
        return Score(tokens, logprobs if start is not None else [-math.log(self.config.vocab_size), *logprobs], size)
