"""Which of several adapters a text belongs to, or the base: the nearest mean of the base's hidden states.

    lm.add_adapter(model, "french", "models/french")  # of `lmworks tune --retain router`, which keeps the means
    lm.route(model, ["Un homme", "A man walks"])      # ["french", None]: None where the base should read it
    model.generate_batch(prompts, adapter=lm.route(model, prompts))

Distances are along each dimension in units of how far texts of one kind spread there, as a few dimensions of a
language model's states are hundreds of times as large as the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from lmworks.basics.arguments import checked
from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError, LmworksError, ModelError
from lmworks.generation.request import Prompt, WithImages
from lmworks.language_model import LanguageModel
from lmworks.models.files.directory import read_safetensors
from lmworks.models.network import evaluating
from lmworks.tokens.chat.conversation import encode_chat
from lmworks.tokens.tokenizer import Tokenizer

FILE = "router.safetensors"
"""What the folder of an adapter holds, so that its texts are told from others."""
BEGINNING = 64
"""Tokens of a text that tell where it belongs."""
LEARNT_FROM = 64
"""Texts of each kind by which it is known."""


@dataclass(frozen=True)
class KindOfText:
    """Texts of one kind, by their states."""

    mean: Float[Tensor, " dim"]
    squares: Float[Tensor, " dim"]
    """Of the distances from the mean, summed over the texts."""
    count: int

    @classmethod
    def of(cls, states: Float[Tensor, "texts dim"]) -> Self:
        """From the states of some texts."""
        mean = states.mean(0)
        return cls(mean, (states - mean).square().sum(0), len(states))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """As the file has them."""
        return {f"{name}.mean": self.mean, f"{name}.squares": self.squares, f"{name}.count": torch.tensor(self.count)}

    @classmethod
    def named(cls, name: str, tensors: dict[str, Tensor]) -> Self:
        """From the file. KeyError for what it does not have, ValueError for numbers that no texts have: what is not a
        number would be the nearest to every text."""
        mean, squares, count = (tensors[f"{name}.{part}"] for part in ("mean", "squares", "count"))
        rows = all(one.ndim == 1 and one.is_floating_point() and bool(one.isfinite().all()) for one in (mean, squares))
        if not rows or mean.shape != squares.shape or bool((squares < 0).any()):
            raise ValueError(f"{name}.mean and {name}.squares are not finite numbers for each dimension")
        if count.numel() != 1 or not bool(count.isfinite().all()) or int(count) < 1:
            raise ValueError(f"{name}.count is not a number of texts")
        return cls(mean.float(), squares.float(), int(count))


@dataclass(frozen=True)
class KindRouter:
    """Means of kinds of texts."""

    means: Float[Tensor, "kinds dim"]
    spread: Float[Tensor, " dim"]

    @classmethod
    def of(cls, kinds: Sequence[KindOfText]) -> Self:
        """Between these kinds."""
        within = torch.stack([one.squares for one in kinds]).sum(0) / sum(one.count for one in kinds)
        return cls(torch.stack([one.mean for one in kinds]), within.sqrt().clamp_min(1e-6))

    def distances(self, states: Float[Tensor, "texts dim"]) -> Float[Tensor, "texts kinds"]:
        """How far each text is from each kind."""
        return torch.cdist(states / self.spread, self.means / self.spread)


@torch.inference_mode()
def states(model: LanguageModel, texts: Sequence[Sequence[int]]) -> Float[Tensor, "texts dim"]:
    """The mean of the last hidden states over the beginning of each text, given by its ids; of adapters that texts
    name, none is used."""
    found = []
    with evaluating(model.network):
        for ids in texts:
            tokens = torch.tensor([ids[:BEGINNING]], device=model.network.device)
            found.append(model.runner.hidden(tokens)[0].float().mean(0).cpu())
    return torch.stack(found)


BASE, OWN = "base", "own"


def as_file(base: KindOfText, own: KindOfText) -> dict[str, Tensor]:
    """What FILE holds: the kind of text that an adapter learnt, and the one that its base goes on reading itself."""
    return base.tensors(BASE) | own.tensors(OWN)


def kinds_in(folder: Path) -> tuple[KindOfText, KindOfText] | None:
    """The base's kind of text and the adapter's own, as the adapter's folder says; None where it says nothing.
    ModelError for a file that is damaged."""
    if not (folder / FILE).is_file():
        return None
    tensors = read_safetensors(folder / FILE)
    try:
        base, own = KindOfText.named(BASE, tensors), KindOfText.named(OWN, tensors)
        if base.mean.shape != own.mean.shape:
            raise ValueError(f"states of {len(base.mean)} numbers and of {len(own.mean)}")
    except KeyError as error:
        raise ModelError(f"{folder / FILE} lacks {error}; copy it again, or train the adapter again") from None
    except ValueError as error:
        raise ModelError(f"{folder / FILE} is damaged ({error}); copy it again, or train the adapter again") from None
    return base, own


def must_say_which_texts(folders: Mapping[str, Path]) -> None:
    """ConfigError for the folder of an adapter, by its name, that does not say what it has learnt from: asked before a
    model is loaded beside which a text would choose it."""
    for name, folder in folders.items():
        if kinds_in(folder) is None:
            raise _says_nothing(name)


def _says_nothing(name: str) -> ConfigError:
    return ConfigError(
        f"the adapter {name} does not say which texts are its own, so that none is chosen by a text; train it with "
        "--retain router, or choose yourself: on the command line with one --adapter DIR without a name, in Python and "
        "in a server's requests by its name"
    )


@dataclass(frozen=True)
class AdapterRouter:
    """Chooses among the adapters beside a model, and the model itself."""

    router: KindRouter
    names: tuple[str | None, ...]
    """Of each kind, the adapter that reads it."""
    openings: list[list[int]]
    """Tokens with which texts of every kind begin."""

    @classmethod
    def beside(cls, model: LanguageModel) -> Self:
        """Of a model. ConfigError where no adapter is beside it, or one whose folder does not say what it has learnt
        from."""
        if not model.adapters:
            raise ConfigError("there is no adapter beside the model to choose; put some there (lm.add_adapter)")
        kinds: list[KindOfText] = []
        names: list[str | None] = []
        for name in model.adapters:
            known = model.kinds.get(name)
            if known is None:
                raise _says_nothing(name)
            if known[0].mean.shape != (model.config.dim,):
                raise ModelError(
                    f"{FILE} of the adapter {name} is of states of {len(known[0].mean)} numbers, and this model's have "
                    f"{model.config.dim}; it was made for another model"
                )
            kinds += known
            names += [None, name]
        return cls(KindRouter.of(kinds), tuple(names), openings(model.tokenizer))

    @classmethod
    def where_known(cls, model: LanguageModel) -> Self | None:
        """Of a model that has adapters which all say what they have learnt from; None of another."""
        known = [model.kinds.get(name) for name in model.adapters]
        return cls.beside(model) if known and None not in known else None

    def choose(self, model: LanguageModel, prompts: Sequence[Prompt], most: int | None = None) -> list[str | None]:
        """The adapter of each prompt, None for the base, by what `model` (or its twin) reads first; one with images is
        the base's. ConfigError as for a request, but for a text that is too long: its beginning is enough, unless it
        certainly has more than `most` tokens."""
        length = min(BEGINNING, model.longest - 1)
        read = {
            at: model.request(without(self.openings, model.encode_prompt(prompt, most))[:length]).prompt
            for at, prompt in enumerate(prompts)
            if not isinstance(prompt, WithImages)
        }
        found: list[str | None] = [None] * len(prompts)
        if read:
            nearest = self.router.distances(states(model, [*read.values()])).argmin(1)
            for at, kind in zip(read, nearest.tolist(), strict=True):
                found[at] = self.names[kind]
        return found


@checked
def route(model: LanguageModel, prompts: Sequence[Prompt]) -> list[str | None]:
    """Which of the adapters beside a model each prompt belongs to, None for the model itself: what `generate`,
    `generate_batch`, `score` and `embed` take as `adapter`.

    ConfigError where no adapter is beside it, or one that was not trained with `--retain router`.
    """
    return AdapterRouter.beside(model).choose(model, prompts)


def openings(tokenizer: Tokenizer) -> list[list[int]]:
    """The tokens with which texts of every kind begin: what the chat template writes before the first words of a user,
    and what begins a document."""
    found = [[one] for one in (tokenizer.document_start, tokenizer.bos) if one is not None]
    if tokenizer.chat_template is None:
        return found
    try:
        pair = [encode_chat(tokenizer, [{"role": "user", "content": one}]) for one in ("a", "b")]
    except LmworksError:  # the template wants something else first
        return found
    shared = takewhile(lambda tokens: tokens[0] == tokens[1], zip(*pair, strict=False))
    return [[one for one, _ in shared], *found]


def without(openings: Sequence[list[int]], ids: Sequence[int]) -> list[int]:
    """A text's tokens without such a beginning, which would be most of what tells a short message."""
    whole = list(ids)
    cut = next((len(one) for one in openings if one and whole[: len(one)] == one and len(whole) > len(one)), 0)
    return whole[cut:]
