"""DrawingModel: a language model whose vocabulary holds images, with the tokenizer that images are written by.

model = lm.load("models/emoji-fusion")
model.draw("a red apple", seed=1).save("apple.png")
print(model.generate("", images=["apple.png"]))          # what it shows
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lmworks.basics import progress
from lmworks.basics.arguments import checked
from lmworks.basics.errors import ConfigError
from lmworks.generation.drawing import draw
from lmworks.generation.image_spans import OPENS, ImageSpans
from lmworks.generation.request import Prompt, Request
from lmworks.generation.strategies import Beam, Contrastive, Sample, Strategy
from lmworks.language_model import LanguageModel
from lmworks.models.files.model_folder import IMAGES_FOLDER, read_facts
from lmworks.models.files.references import resolve

if TYPE_CHECKING:  # a server asks whether its model draws, and waits for no PyTorch
    from PIL.Image import Image as Picture
    from torch import Tensor

    from lmworks.image_tokens import ImageTokens
    from lmworks.models.network import Network

GUIDANCE = 3.0
"""How far a drawing follows its caption where nothing else is said."""
USUAL = Sample(temperature=1.0, top_p=0.95)
"""How codes are chosen where nothing else is said."""
MOST_GUIDANCE = 100.0
MOST_AT_ONCE = 64
"""Drawings of one call that are written side by side."""
MOST_TRIED = 1_024
"""Candidates for one drawing, of which the judge picks one."""
SEED_STEP = 1_024
"""Between the seeds of a drawing's candidates, so that those of a sheet, whose seeds are consecutive, all differ."""


class DrawingModel(LanguageModel):
    """Reads images in a prompt, and draws one from a caption."""

    images: ImageTokens
    spans: ImageSpans

    @classmethod
    def load(cls, reference: str | os.PathLike[str], **how: Any) -> Self:
        """As LanguageModel.load, with the tokenizer of images in the directory's folder `image_tokens`. ModelError
        where it is not there; ConfigError where the vocabulary is not made for it."""
        from lmworks.image_tokens import ImageTokens

        model = super().load(reference, **how)
        model.take_images(ImageTokens.load(resolve(str(reference)) / IMAGES_FOLDER))
        return model

    def take_images(self, images: ImageTokens) -> None:
        """Read and draw images by this tokenizer. ConfigError for one with other codes than the vocabulary has."""
        config = images.config_of_images
        self.spans = ImageSpans.of(self.tokenizer, config.codes, config.places)
        self.images = images

    def beside(self, network: Network) -> Self:
        """As LanguageModel.beside, with the same tokenizer of images."""
        other = super().beside(network)
        other.take_images(self.images)
        return other

    def write_beside(self, folder: Path) -> None:
        """The tokenizer of images, in a folder of its own."""
        source = self.images.source
        self.images.save(folder / IMAGES_FOLDER, {} if source is None else read_facts(source))

    @property
    def start(self) -> list[int]:
        """What stands before a caption or an image."""
        start = self.tokenizer.document_start
        return [] if start is None else [start]

    @checked
    def draw(
        self,
        prompt: str,
        *,
        seed: int | None = None,
        guidance: float = GUIDANCE,
        strategy: Strategy | None = None,
        best_of: int = 1,
        judge: LanguageModel | None = None,
    ) -> Picture:
        """A Pillow image of what a caption says; the same for the same seed (a fresh one where none is given).

        `guidance` is how far it follows the caption: 1 as far as the network does by itself, 0 not at all. The
        `strategy` chooses the codes. With `best_of`, that many candidates are drawn, and the `judge`, a CLIP, picks the
        one whose vector is closest to the caption's (reranking as in DALL-E: Ramesh et al. 2021,
        https://arxiv.org/abs/2102.12092, section 2.6). ConfigError for a caption that leaves no room for an image, and
        for a judge that cannot compare images with texts.
        """
        seeds = None if seed is None else [seed]
        how: dict[str, Any] = {"guidance": guidance, "strategy": strategy, "best_of": best_of, "judge": judge}
        return self.drawings([prompt], seeds, **how)[0]

    @checked
    def drawings(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int] | None = None,
        *,
        guidance: float = GUIDANCE,
        strategy: Strategy | None = None,
        best_of: int = 1,
        judge: LanguageModel | None = None,
    ) -> list[Picture]:
        """An image for each caption, each by the seed of its own; as `draw`. The first of `best_of` candidates is
        what the seed draws alone."""
        chosen = USUAL if strategy is None else strategy
        if isinstance(chosen, Beam | Contrastive):
            raise ConfigError("an image is drawn code by code; take Greedy or Sample")
        must_be_drawable(guidance, best_of, judged=judge is not None)
        seeds = [chosen.new_seed() or 0 for _ in prompts] if seeds is None else seeds
        if len(seeds) != len(prompts):
            raise ConfigError(f"there are {len(prompts)} captions and {len(seeds)} seeds; give one for each")
        if any(not 0 <= seed < 2**63 for seed in seeds):
            raise ConfigError("a seed is a whole number from 0 to 2^63 - 1; give another")
        rows = [self._opened(prompt) for prompt in prompts]
        words = None if judge is None else _words(judge, prompts)
        together, pictures = max(MOST_AT_ONCE // best_of, 1), list["Picture"]()
        with progress.task("drawing", best_of * len(rows), "drawings", stays=False) as advance:
            for begin in range(0, len(rows), together):
                part = slice(begin, begin + together)
                tried = [
                    (row, seed + number * SEED_STEP)
                    for row, seed in zip(rows[part], seeds[part], strict=True)
                    for number in range(best_of)
                ]
                drawn = self._drawn(tried, chosen, guidance, advance)
                if judge is None or words is None:
                    pictures += drawn
                    continue
                near = (judge.embed(images=drawn).view(-1, best_of, words.shape[1]) * words[part, None]).sum(dim=-1)
                pictures += [drawn[at * best_of + best] for at, best in enumerate(near.argmax(dim=1).tolist())]
        return pictures

    def _drawn(
        self, tried: Sequence[tuple[list[int], int]], strategy: Strategy, guidance: float, advance: progress.Advance
    ) -> list[Picture]:
        """An image for each opened caption and seed."""
        pictures, blank = list["Picture"](), [*self.start, self.spans.opens]
        for begin in range(0, len(tried), MOST_AT_ONCE):
            rows, seeds = zip(*tried[begin : begin + MOST_AT_ONCE], strict=True)
            codes = draw(
                self.runner, list(rows), blank, self.spans, strategy, [seed % 2**63 for seed in seeds], guidance
            )
            pictures += self.images.decode(codes.tolist())
            advance(len(rows))
        return pictures

    def _opened(self, caption: str) -> list[int]:
        """A caption's tokens up to the mark that opens its image."""
        most = self.config.context - self.spans.places - 1 - len(self.start)
        self.tokenizer.must_fit(caption, most, "caption")
        ids = self.tokenizer.encode(caption, special=False)
        if len(ids) > most:
            raise ConfigError(
                f"the caption has {len(ids):,} tokens, and beside an image there is room for {most:,}; shorten it"
            )
        return [*self.start, *ids, self.spans.opens]

    def with_images(self, prompt: Prompt, images: Sequence[Any] | Any | None) -> Prompt:
        """The tokens of a prompt that begins with images. DataError for what is no image."""
        if images is None:
            return prompt
        if not isinstance(prompt, str):
            raise ConfigError("images stand before a text here; give the prompt as a text")
        codes = self.images.encode(images)
        shown = [token for one in codes.tolist() for token in self.spans.around(one)]
        if len(shown) >= self.config.context:
            raise ConfigError(
                f"{len(codes):,} images have {len(shown):,} tokens and the model reads {self.config.context:,}; give "
                "fewer"
            )
        return [*self.start, *shown, *self.tokenizer.encode(prompt, special=False)]

    def request(self, prompt: Prompt, strategy: Strategy | None = None, *args: Any, **said: Any) -> Request:
        """As LanguageModel.request: an answer is text, without codes of images."""
        if said.get("constraint") is None and said.get("tools") is None and not isinstance(strategy, Beam):
            said["constraint"] = self.spans
        return super().request(prompt, strategy, *args, **said)


def must_be_drawable(guidance: float, best_of: int, *, judged: bool) -> None:
    """ConfigError for a guidance or a number of candidates out of range, and for candidates without a judge."""
    if not 0 <= guidance <= MOST_GUIDANCE:
        raise ConfigError(f"guidance is {guidance:g}; it is at least 0 and at most {MOST_GUIDANCE:g}")
    if not 1 <= best_of <= MOST_TRIED or (best_of > 1) != judged:
        raise ConfigError(
            f"best_of is {best_of}, from 1 to {MOST_TRIED:,}, and {'a' if judged else 'no'} judge is given; more than "
            "one drawing needs a CLIP that chooses among them, and one needs none"
        )


def _words(judge: LanguageModel, prompts: Sequence[str]) -> Tensor:
    """The vectors of the captions. ConfigError for a judge that cannot compare them with images."""
    if not getattr(judge, "reads_texts", False):
        raise ConfigError(
            f"{judge.reference or 'the judge'} does not compare images with texts; take a CLIP, such as `lmworks train "
            "emoji-clip` makes"
        )
    return judge.embed(list(prompts), cut=True)


def draws(folder: Path) -> bool:
    """Whether a folder holds such a model."""
    return (folder / IMAGES_FOLDER / "config.json").is_file()


def no_drawing(model: LanguageModel) -> ConfigError:
    """What to raise where a model is asked to draw that cannot."""
    return ConfigError(
        f"{model.reference or 'the model'} does not draw: its vocabulary has no {OPENS}; take a model that `lmworks "
        "train emoji-fusion` made"
    )
