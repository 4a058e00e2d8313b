"""Texts as vectors, classes and scores: what an encoder does, and a decoder's states too.

model.embed(["a cat", "a dog"])                      # [texts, vector_dim]
model.compare([("who?", "she did"), ("who?", "it rained")])
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lmworks.basics.arguments import checked
from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.kernels.choice import embedder_for
from lmworks.language_model.parts import ModelParts
from lmworks.models.runner import Runner, prompt_alone

if TYPE_CHECKING:  # what writes on the compiled path waits for no PyTorch
    from torch import Tensor

    from lmworks.encoding.classifying import Told
    from lmworks.encoding.comparing import Pair
    from lmworks.encoding.embedding import Pooling
    from lmworks.encoding.filling import Filled


class EncodingModel(ModelParts):
    """A model that is asked for vectors, classes, scores of pairs, or what a mask stands for."""

    @checked
    def embed(
        self,
        texts: Sequence[str | Sequence[int]] = (),
        *,
        images: Any = None,
        prompt: str | None = None,
        pooling: Pooling | None = None,
        cut: bool = False,
        adapter: str | None = None,
    ) -> Tensor:
        """A vector for each text, [texts, vector_dim] in float32, pooled as the model's folder says unless `pooling`
        does; `images` are for a VisionModel. A text may be given as its tokens' ids, which are read as they are. Before
        others stands the `prompt` of this name, as the folder has it; "query" and "passage" may be named of every
        model, and stand for nothing where its folder has none.

        An encoder runs in 8 bits on the compiled path where that covers it (cosines with float32 are above 0.999),
        else in bfloat16 where the processor multiplies it natively (above 0.9999); with `compress="none"` the
        latter, with a `dtype` as loaded. DataError for a text that is longer than the model reads, unless it may be
        `cut`. An `adapter` beside the model is chosen by its name.
        """
        import torch

        self._no_images(texts, images)
        return torch.from_numpy(self.vectors(texts, prompt=prompt, pooling=pooling, cut=cut, adapter=adapter))

    @checked
    def vectors(
        self,
        texts: Sequence[str | Sequence[int]],
        *,
        prompt: str | None = None,
        pooling: Pooling | None = None,
        cut: bool = False,
        adapter: str | None = None,
    ) -> Float[np.ndarray, "texts dim"]:
        """What `embed` gives, as an array of NumPy: on the compiled path without PyTorch, which takes two seconds to
        import."""
        from lmworks.encoding.embedding import embed

        if self.translates:
            raise ConfigError("an encoder-decoder has no pooled states; embed with an encoder or a decoder")
        said = pooling or self.pooling
        return embed(
            self._embeds_with(),
            self.tokenizer,
            texts,
            said,
            dense=self.dense if said.dense else (),
            prompt=prompt,
            cut=cut,
            exact=self.exact,
            adapter=self._of_rows(adapter),
        )

    def _of_rows(self, name: str | None) -> str | None:
        """The name; ConfigError for one that does not exist, and for a trained prompt."""
        adapter, lead = self.read_by(name)
        if lead:
            raise prompt_alone(str(name))
        return adapter

    def too_long(self, texts: Sequence[str], *, prompt: str | None = None) -> int:
        """How many of these texts have more tokens than `embed` reads of one, so that they lose their ends where they
        may be cut."""
        from lmworks.encoding.embedding import too_long

        return too_long(self.tokenizer, texts, self.pooling, self.config, prompt)

    @checked
    def compare(self, pairs: Sequence[Pair], *, cut: bool = False) -> Tensor:
        """A cross-encoder's score for each pair of texts (a question and what may answer it), [pairs] in float32: the
        higher, the better they belong together.

        It runs as `embed` does: in 8 bits on the compiled path where that covers the network. ConfigError for a network
        without such a head; DataError for a pair that is longer than the model reads, unless it may be `cut`.
        """
        import torch

        return torch.from_numpy(self.scores(pairs, cut=cut))

    @checked
    def scores(self, pairs: Sequence[Pair], *, cut: bool = False) -> Float[np.ndarray, " pairs"]:
        """What `compare` gives, as an array of NumPy: on the compiled path without PyTorch."""
        from lmworks.encoding.comparing import compare

        runner = self._embeds_with()
        return compare(runner, self.tokenizer, pairs, scale=self.score_scale, cut=cut, exact=self.exact)

    def classify(self, texts: Sequence[str], labels: Sequence[str] | None = None, *, cut: bool = False) -> list[Told]:
        """The class of each text and the probability of every class; DataError for a text that is longer than the model
        reads, unless it may be `cut`. `labels` are for two towers of images and texts alone (VisionModel)."""
        from lmworks.encoding.classifying import classifies, classify

        self._no_images(texts)
        if labels is not None and classifies(self.config):
            raise ConfigError("a classifier of texts tells its own classes apart; leave labels out")
        if labels is not None:
            raise ConfigError(
                f"{self.reference or 'the model'} has no classifier, and chooses from no labels; load a model that "
                "reads images, a CLIP say, or train a classifier of texts (lmworks train classify)"
            )
        return classify(self.runner, self.tokenizer, texts, cut=cut)

    @checked
    def fill(self, text: str, *, top: int = 5) -> list[list[Filled]]:
        """For each mask in a text ("Paris is the [MASK] of France.") the `top` likeliest tokens and their
        probabilities."""
        from lmworks.encoding.filling import fill

        return fill(self.runner, self.tokenizer, text, top)

    @checked
    def reduce(self, texts: Sequence[str], dimensions: int, *, whiten: bool = False) -> float:
        """Let `embed` give vectors of fewer dimensions from here on: the principal components of these texts' vectors,
        before they are brought to length 1; with `whiten` each divided by its standard deviation. `save` keeps it.
        Returns the share of the texts' variance that is kept. ConfigError for more dimensions than the vectors have or
        differ in."""
        from lmworks.encoding.principal import principal_components

        plain = self.pooling.but(normalise=False)
        found = principal_components(self.embed(texts, prompt="passage", pooling=plain, cut=True), dimensions)
        name = next(one for number in itertools.count(2) if (one := f"{number}_Dense") not in self.pooling.dense)
        self.dense, self.pooling = (
            [*self.dense, found.layer(whiten)],
            self.pooling.but(dense=(*self.pooling.dense, name)),
        )
        return found.kept

    @property
    def vector_dim(self) -> int:
        """How many numbers a text's vector has."""
        return self.dense[-1].width if self.dense else self.config.dim

    @property
    def batch_invariant(self) -> bool:
        """Whether `embed` gives a text the same vector to the bit whatever other texts are embedded with it: on the
        compiled path, which computes each token by itself."""
        return self._embeds_with().own_threads()

    def _embeds_with(self) -> Runner:
        """What runs the network where it embeds or compares: made when it is first wanted, and after weights have
        changed."""
        if not self.embeds_compiled or (self._runner is not None and self._runner.own_threads()):
            return self.runner
        if self._embedder is not None and self._embedder[0].weights_version != self._embedder[1]:
            self._embedder = None
        if self._embedder is None:
            from lmworks.models.unread import state_of

            runner = embedder_for(self.network, self._keeper(state_of(self.network) == self._read))
            if runner is None:
                return self.runner
            self._embedder = runner, runner.weights_version
        return self._embedder[0]

    def _no_images(self, texts: Any, images: Any = None) -> None:
        """ConfigError where one of what is given is an image in memory."""
        if isinstance(texts, np.ndarray) and texts.dtype.kind in "OU":  # of texts, as a column of a table is
            return
        several = texts if isinstance(texts, list | tuple) else [texts]
        wrong = next((one for one in [*several, images] if hasattr(one, "convert") or hasattr(one, "ndim")), images)
        if wrong is not None:
            raise ConfigError(
                f"{self.reference or 'the model'} reads texts and no images (a {type(wrong).__name__} was given); give "
                "texts, or load a model that reads images, a CLIP say"
            )
