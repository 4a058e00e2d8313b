"""VisionModel: a network that reads images, with the preprocessing and the tokenizer that belong to it.

model = lm.load("hf:openai/clip-vit-base-patch32")
(told,) = model.classify("cat.jpg", ["cat", "dog"])
near = model.embed(images=["cat.jpg", "dog.jpg"]) @ model.embed(["a cat on a mat"]).T

It can be used wherever a LanguageModel can, so that asking it to write gives a sentence that says what it is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.arguments import checked
from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.files import directory_written_whole
from lmworks.encoding.classifying import Told
from lmworks.encoding.embedding import Pooling
from lmworks.encoding.seeing import (
    TEMPLATE,
    Image,
    as_list,
    embed_images,
    embed_texts,
    tell_classes,
    too_long,
    zero_shot,
)
from lmworks.kernels.footprint import Footprint
from lmworks.language_model import LanguageModel
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.files.model_folder import refuse_foreign_files, write_facts
from lmworks.models.files.references import resolve
from lmworks.models.network import Network
from lmworks.models.precision import dtype_of
from lmworks.models.torch_runner import TorchRunner
from lmworks.models.vision.preprocessing import Preprocessing
from lmworks.models.vision.torchvision_images import read_preprocessing
from lmworks.models.vision.towers import Towers
from lmworks.tokens.tokenizer import Tokenizer


class VisionModel(LanguageModel):
    """A network that reads images (and texts, of two towers), and how they are prepared for it."""

    def __init__(
        self,
        network: Any,
        preprocessing: Preprocessing,
        tokenizer: Tokenizer | None = None,
        source: Path | None = None,
        reference: str | None = None,
    ) -> None:
        if isinstance(network, Towers):
            if tokenizer is None:
                raise ConfigError("two towers read texts too; give their tokenizer")
            super().__init__(cast(Network, network), tokenizer, source, reference)
        else:
            self.network, self.source = cast(Network, network), source
            self.runner = TorchRunner(self.network)
            self.reference = reference or (str(source) if source else None)
            self.exact, self.embeds_compiled, self._weights = True, False, source
            self._read, self._embedder = None, None
        self.seeing, self.preprocessing = network, preprocessing

    @classmethod
    def load(
        cls,
        reference: str | os.PathLike[str],
        *,
        dtype: str | torch.dtype | None = None,
        device: str = "cpu",
        compress: str | None = None,
        rope_scaling: Any = None,
    ) -> Self:
        """Load a directory or hf:org/name of a model of images. ModelError with one sentence for whatever is wrong with
        the files; ConfigError for a `compress` or `rope_scaling`, which are for networks that write."""
        if compress not in (None, "none") or rope_scaling is not None:
            raise ConfigError(
                f"{reference} reads images, and runs in PyTorch as it is; leave compress and rope_scaling"
            )
        path, wanted = resolve(str(reference)), dtype_of(dtype)
        footprint = Footprint.of(path)
        footprint.must_fit(str(reference), "none", wanted)
        preprocessing = read_preprocessing(path, footprint.config)
        with progress.reading(f"loading {reference}", footprint.stored):
            network: Any = read_network(path, wanted)
            tokenizer = Tokenizer.load(path) if isinstance(network, Towers) else None
        return cls(network.to(device), preprocessing, tokenizer, path, str(reference))

    @checked
    def save(self, folder: str | os.PathLike[str], facts: Mapping[str, Any] | None = None) -> Path:
        """Write a Hugging Face directory that transformers loads; `facts` go into lmworks.json."""
        folder = Path(folder)
        refuse_foreign_files(folder)
        with directory_written_whole(folder) as temporary:
            write_network(temporary, self.network)
            self.preprocessing.write(temporary)
            if self.reads_texts:
                self.tokenizer.save(temporary)
            write_facts(temporary, {"source": self.reference, **(facts or {})})
        return folder

    def __getattr__(self, name: str) -> Any:
        """What a model of images alone has not, said in a sentence."""
        if name == "tokenizer":
            self.must_read_texts()
        raise AttributeError(f"{type(self).__name__} has no {name}")

    @property
    def reads_texts(self) -> bool:
        """Whether it has a tower for texts too."""
        return isinstance(self.seeing, Towers)

    @property
    def longest(self) -> int:
        """ConfigError: what asks how long a text may be wants one that is written or read token by token."""
        self.must_write()
        raise AssertionError

    @property
    def vector_dim(self) -> int:
        """How many numbers a vector has."""
        return int(self.seeing.config.dim)

    @checked
    def embed(
        self,
        texts: Sequence[str | Sequence[int]] = (),
        *,
        images: Sequence[Image] | Image | None = None,
        prompt: str | None = None,
        pooling: Pooling | None = None,
        cut: bool = False,
        adapter: str | None = None,
    ) -> Tensor:
        """A vector of length 1 for each text, or for each image, [rows, vector_dim] in float32. Of two towers those of
        texts and of images can be compared: the product is the cosine.

        ConfigError for texts where there is no tower for them; DataError for what is no image, and for a text longer
        than the model reads, unless it may be `cut`.
        """
        if pooling is not None or adapter is not None or prompt not in (None, "query", "passage"):
            raise ConfigError("a model of images has one way to embed; leave pooling, prompt and adapter out")
        if images is not None:
            if len(texts):
                raise ConfigError("give texts or images, each in a call of its own")
            return embed_images(self.seeing, self.preprocessing, as_list(images))
        self.must_read_texts()
        if isinstance(texts, str):
            raise DataError("embed takes a list of texts; put the one text into brackets")
        for wrong in (one for one in texts if not isinstance(one, str)):
            raise DataError(f"a {type(wrong).__name__} is no text; give images as model.embed(images=[...])")
        return embed_texts(self.seeing, self.tokenizer, [str(one) for one in texts], cut)

    def too_long(self, texts: Sequence[str], *, prompt: str | None = None) -> int:
        """How many of these texts have more tokens than the tower for texts reads, so that they lose their ends where
        they may be cut. ConfigError where there is no such tower."""
        self.must_read_texts()
        return too_long(self.seeing, self.tokenizer, texts)

    def vectors(self, texts: Sequence[str | Sequence[int]], **how: Any) -> np.ndarray:
        """What `embed` gives of texts, as an array of NumPy."""
        return self.embed(texts, **how).numpy()

    @checked
    def classify(
        self,
        texts: Sequence[Image] | Image,
        labels: Sequence[str] | None = None,
        *,
        cut: bool = False,
        template: str = TEMPLATE,
    ) -> list[Told]:
        """The class of each image (or of one) and the probability of every class: of those in `labels` by two towers,
        each put into the `template`; else of the network's own."""
        images = as_list(texts)
        if isinstance(self.seeing, Towers):
            if labels is None:
                raise ConfigError(f"{self.reference or 'the model'} has no classes of its own; give labels (--label)")
            return zero_shot(self.seeing, self.tokenizer, self.preprocessing, images, labels, template, cut)
        if not self.seeing.config.labels:
            raise ConfigError(f"{self.reference or 'the model'} has no classifier; it embeds images (model.embed)")
        if labels is not None:
            raise ConfigError(
                f"{self.reference or 'the model'} tells its own {len(self.seeing.config.labels)} classes apart; leave "
                "labels out, or take a CLIP"
            )
        return tell_classes(self.seeing, self.preprocessing, images)

    def must_read_texts(self) -> None:
        """ConfigError unless there is a tower for texts."""
        if not self.reads_texts:
            raise ConfigError(
                f"{self.reference or 'the model'} reads images alone; give them as model.embed(images=[...])"
            )

    def logits(self, ids: Any, mask: Any = None) -> Tensor:
        """ConfigError: it predicts no tokens."""
        self.must_write()
        raise AssertionError

    def must_write(self) -> None:
        """ConfigError: it writes nothing."""
        raise ConfigError(
            f"{self.reference or 'the model'} reads images and writes no text; it classifies and embeds them "
            "(model.classify, model.embed)"
        )
