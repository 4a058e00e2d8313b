"""SeeingModel: a language model that reads images, by a reader that was trained between it and a model of images.

model = lm.load("models/emoji-captions")
print(model.generate("", images=["apple.png"]))          # what it shows

The language model stays as it is: of a text without images it says what its base says. The folder holds the reader,
the model of images and the name of the base, and is small beside it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lmworks.adaptation.adapter_files import CONFIG, TYPE, WEIGHTS, fill, is_adapter, write_files
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.basics.files import directory_written_whole
from lmworks.generation.given_text import GivenText
from lmworks.generation.request import Prompt, Request, WithImages
from lmworks.generation.strategies import Greedy, Strategy
from lmworks.language_model import LanguageModel
from lmworks.models.config import ModelConfig
from lmworks.models.files.model_folder import SEEING_FOLDER, read_json, refuse_foreign_files, write_facts

if TYPE_CHECKING:  # a server asks whether its model sees, and waits for no PyTorch
    from torch import Tensor

    from lmworks.encoding.known_captions import KnownCaptions
    from lmworks.models.image_reader import ImageReader
    from lmworks.vision_model import VisionModel

IMAGES = "LMWORKS_IMAGES"
"""What adapter_config.json calls such a folder; PEFT knows no such kind."""
SIZES = ("states", "hidden", "length", "dim", "vocabulary")
DESCRIBING = Greedy().but(no_repeat_ngram=2)
"""How an image is described where nothing else is said: small models like to list one word again and again."""
MOST = 100_000_000
"""No size of a reader is larger."""


class SeeingModel(LanguageModel):
    """Reads images that stand before a text."""

    eye: VisionModel
    base: str
    """The reference of the language model."""
    known: KnownCaptions | None = None
    """The captions that it was trained on; None where it answers in words of its own alone."""
    _reader: ImageReader | None = None

    @property
    def reader(self) -> ImageReader:
        """What turns the states of images into vectors for the language model."""
        assert self._reader is not None, "see_by gives it"
        return self._reader

    @classmethod
    def load_reader(cls, folder: Path, base: str, **how: Any) -> Self:
        """The model of a folder that holds a reader, on its base; `how` as of LanguageModel.load. ModelError where the
        files do not fit it."""
        import torch

        from lmworks.encoding.known_captions import KnownCaptions
        from lmworks.models.files.directory import read_safetensors
        from lmworks.models.image_reader import ImageLayers, ImageReader
        from lmworks.vision_model import VisionModel

        said = read_json(folder / CONFIG)
        sizes: dict[str, Any] = {name: said.get(name) for name in SIZES}
        if not all(isinstance(one, int) and 0 < one <= MOST for one in sizes.values()):
            raise ModelError(f"{folder / CONFIG} lacks a size of the reader of images; fetch or train it again")
        vocabulary = sizes.pop("vocabulary")
        with torch.device("meta"):
            layers = ImageLayers(**sizes)
        tensors = read_safetensors(folder / WEIGHTS)
        fill(folder, layers.state_dict(), tensors)  # checked before anything is as large as the file says
        layers.load_state_dict({name: one.float() for name, one in tensors.items()}, assign=True)
        model = cls.load(base, **how)
        eye = VisionModel.load(folder / SEEING_FOLDER, dtype="float32")
        model.see_by(eye, ImageReader(layers.requires_grad_(False), vocabulary), base)
        model.known = KnownCaptions.load(folder, sizes["states"])
        return model

    def see_by(self, eye: VisionModel, reader: ImageReader, base: str) -> None:
        """Use this model of images and this reader from now on. ConfigError for a reader whose sizes are those of other
        models."""
        must_take_images(self.config, self.reference or "the model")
        here = {"dim": self.config.embedding_width, "vocabulary": self.config.vocab_size, "states": eye.vector_dim}
        layers = reader.layers.eval()
        made_for = {"dim": layers.dim, "vocabulary": reader.vocabulary, "states": len(layers.mean)}
        for name, value in made_for.items():
            if value != here[name]:
                raise ConfigError(
                    f"the reader of images was made for {name} = {value:,}, and here it is {here[name]:,}; give the "
                    "models that it was trained between"
                )
        self.eye, self._reader, self.base = eye, reader, base
        self.runner.take_images(reader.seen)
        self._later.when_built(lambda network: setattr(network, "image_reader", reader))

    def choose_runner(self, compress: str | None = None, *, as_read: bool = False) -> None:
        """As LanguageModel.choose_runner."""
        super().choose_runner(compress, as_read=as_read)
        if self._reader is not None:
            self.runner.take_images(self._reader.seen)

    def states_of(self, images: Sequence[Any] | Any) -> Tensor:
        """What the model of images sees in each image, [images, states]. DataError for what is no image."""
        import torch

        from lmworks.encoding.seeing import as_list, prepared

        with torch.inference_mode():
            seen = self.eye.seeing
            rows = [
                seen.pooled(seen.hidden(pixels))
                for pixels in prepared(as_list(images), self.eye.preprocessing, seen.device, "looking")
            ]
            return torch.cat(rows) if rows else torch.zeros(0, len(self.reader.layers.mean))

    def with_images(self, prompt: Prompt, images: Sequence[Any] | Any | None) -> Prompt:
        """The tokens of a prompt that begins with images; of one image without words, beside it the known caption that
        is to be the answer. DataError for what is no image, ConfigError where they leave no room for a text."""
        if images is None:
            return prompt
        if not isinstance(prompt, str):
            raise ConfigError("images stand before a text here; give the prompt as a text")
        states = self.states_of(images)
        shown = [token for ids in self.reader.remember(states) for token in ids]
        if not shown:
            raise ConfigError("images is an empty list; give at least one image, or leave it out")
        if len(shown) >= self.config.context:
            raise ConfigError(
                f"the images have {len(shown):,} vectors and the model reads {self.config.context:,}; give fewer"
            )
        read = WithImages([*before(self), *shown, *self.tokenizer.encode(prompt, special=False)])
        if self.known is not None and len(states) == 1 and not prompt.strip():
            [caption] = self.known.best_for(self.reader.layers.normal(states).numpy())
            if tokens := self.tokenizer.encode(caption, special=False):
                read.known_caption = GivenText(tuple(tokens), "known caption")
        return read

    def request(self, prompt: Prompt, strategy: Strategy | None = None, *args: Any, **said: Any) -> Request:
        """As LanguageModel.request. Unless a strategy is given, the answer to one image without words is a caption that
        the model knows, and what it says of images otherwise repeats no pair of tokens."""
        if strategy is None and isinstance(prompt, WithImages):
            strategy = DESCRIBING
            if said.get("constraint") is None and said.get("tools") is None:
                said["constraint"] = prompt.known_caption
        return super().request(prompt, strategy, *args, **said)

    def beside(self, network: Any) -> Self:
        """As LanguageModel.beside, with the same eye and reader."""
        other = super().beside(network)
        other.see_by(self.eye, self.reader, self.base)
        other.known = self.known
        return other

    def save(self, folder: str | os.PathLike[str], facts: Mapping[str, Any] | None = None) -> Path:
        """Write the reader, the captions that are known, the model of images and the base's name; `facts` go into
        lmworks.json."""
        folder = Path(folder)
        refuse_foreign_files(folder)
        layers = self.reader.layers
        sizes = [layers.inner.in_features, layers.inner.out_features, layers.length, layers.dim]
        settings = dict(zip(SIZES, [*sizes, self.reader.vocabulary], strict=True))
        with directory_written_whole(folder) as temporary:
            write_files(temporary, IMAGES, self.base, settings, dict(layers.state_dict()))
            self.write_tokenizer(temporary)
            self.eye.save(temporary / SEEING_FOLDER)
            if self.known is not None:
                self.known.save(temporary)
            write_facts(temporary, {"source": self.reference, **(facts or {})})
        return folder


def before(model: LanguageModel) -> list[int]:
    """The tokens that every text of the model starts with; in a prompt with images they come first."""
    start = model.tokenizer.document_start
    return [] if start is None else [start]


def sees(folder: Path) -> bool:
    """Whether the folder holds a reader of images."""
    return is_adapter(folder) and read_json(folder / CONFIG).get(TYPE) == IMAGES


def must_take_images(config: ModelConfig, name: str) -> None:
    """ConfigError for a network in whose texts no vectors can stand."""
    if config.arrangement != "decoder" or config.ngrams or config.embedding_norm is not None:
        what = f"an {config.arrangement}" if config.arrangement != "decoder" else "one whose embeddings are more"
        raise ConfigError(
            f"images are read before a decoder's text, and {name} is {what}; take a decoder such as smollm2"
        )
