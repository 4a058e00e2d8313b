"""Scores of a text's classes, made of its states by NumPy: PyTorch's `Network.classify` for the classifiers that most
encoders have, so that a kept network tells them without PyTorch. Imports no numba."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from lmworks.basics.arrays import Bool, Float
from lmworks.models.config import ModelConfig

ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0)}
"""Of poolers; those with another have their classes told by PyTorch."""


def is_of_classifier(name: str) -> bool:
    """Is a parameter part of the classifier, or of the pooler before it?"""
    return name.startswith(("classifier.", "pooler."))


@dataclass(frozen=True)
class TextClassifier:
    """A pooler, where there is one, and a classifier, in float32."""

    config: ModelConfig
    vectors: Mapping[str, Float[np.ndarray, " numbers"]]
    """Matrices and biases by their names, each flat, and filled up at its end."""

    @classmethod
    def of(cls, config: ModelConfig, vectors: Mapping[str, Float[np.ndarray, " numbers"]]) -> Self | None:
        """None where the network has no classifier of texts, or one that only PyTorch knows."""
        usual = config.labels_of == "texts" and not config.classifier_transform and config.arrangement == "encoder"
        known = not config.pooler or config.pooler_activation in ACTIVATIONS
        return cls(config, vectors) if usual and known and "classifier.weight" in vectors else None

    def __call__(
        self, states: Float[np.ndarray, "batch seq dim"], real: Bool[np.ndarray, "batch seq"]
    ) -> Float[np.ndarray, "batch labels"]:
        """The scores, by the mean over the real tokens or by the first of them, as `text_state` says."""
        if self.config.text_state == "mean":
            state = (states * real[..., None]).sum(1) / real.sum(1, dtype=np.float32)[:, None]
        else:
            state = states[np.arange(len(states)), real.argmax(1)]
        if self.config.pooler:
            state = ACTIVATIONS[self.config.pooler_activation](self._linear("pooler", state, self.config.dim))
        return self._linear("classifier", state, len(self.config.labels))

    def _linear(self, name: str, x: Float[np.ndarray, "batch dim"], width: int) -> Float[np.ndarray, "batch width"]:
        weight = self.vectors[f"{name}.weight"][: width * x.shape[1]].reshape(width, -1)
        bias = self.vectors.get(f"{name}.bias")
        made: np.ndarray = x @ weight.T
        return made if bias is None else made + bias[:width]
