"""The captions that a model was trained on, and which of them fits an image that it has not seen.

    known = KnownCaptions.of(states, captions)       # of images, [images, numbers], mean 0 and deviation 1
    known.save(folder)
    KnownCaptions.load(folder).supported(states)     # a caption for each

The caption is chosen that those of the most similar images support: each of these votes for what is like its own, the
more the more similar its image is (Devlin et al. 2015, https://arxiv.org/abs/1505.04467).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch

from lmworks.basics.arrays import Float, Int8
from lmworks.basics.errors import ModelError
from lmworks.basics.files import says_why
from lmworks.models.files.directory import read_safetensors, write_safetensors

FILE = "known_captions.safetensors"
VOTERS, SHARPNESS = 20, 0.1
"""Captions that vote, and the difference of two cosines that makes one vote e times the other: chosen on emoji of the
training set, each family without its own."""
PIECE = 3
"""Letters of the pieces by which captions are alike."""
AT_ONCE = 1_024
"""Known images that are compared at once."""


class KnownCaptions:
    """Images, each as 8-bit numbers that point where its states do, with their captions."""

    def __init__(self, directions: Int8[np.ndarray, "images states"], captions: Sequence[str]) -> None:
        """Both in the same order."""
        self.directions, self.captions = directions, list(captions)

    @classmethod
    def of(cls, states: Float[np.ndarray, "images states"], captions: Sequence[str], most: int) -> Self:
        """Those of these images, or of `most` of them, spread over all."""
        chosen = np.linspace(0, len(states) - 1, min(most, len(states))).astype(int)
        rows = states[chosen]
        largest = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-12)
        return cls(np.round(rows / largest * 127).astype(np.int8), [captions[at] for at in chosen])

    def supported(self, states: Float[np.ndarray, "shown states"]) -> list[str]:
        """The caption for each image."""
        return [self._chosen(row) for row in self._similar(states)]

    def _similar(self, states: Float[np.ndarray, "shown states"]) -> Float[np.ndarray, "shown images"]:
        """The cosine of each image with each known one."""
        parts = []
        for start in range(0, len(self.directions), AT_ONCE):
            known = self.directions[start : start + AT_ONCE].astype(np.float32)
            parts.append(states @ (known / np.maximum(np.linalg.norm(known, axis=1, keepdims=True), 1e-12)).T)
        return np.concatenate(parts, axis=1) / np.maximum(np.linalg.norm(states, axis=1, keepdims=True), 1e-12)

    def _chosen(self, similar: Float[np.ndarray, " images"]) -> str:
        nearest: dict[str, float] = {}
        for at in np.argsort(-similar, kind="stable"):
            nearest.setdefault(self.captions[at], float(similar[at]))
            if len(nearest) == VOTERS:
                break
        captions, cosines = list(nearest), np.array(list(nearest.values()))
        votes = np.exp((cosines - cosines[0]) / SHARPNESS)
        pieces = [_pieces(one) for one in captions]
        support = [votes @ [_likeness(one, voter) for voter in pieces] for one in pieces]
        return captions[int(np.argmax(support))]

    def save(self, folder: Path) -> None:
        """Write them into a folder."""
        written = np.frombuffer(json.dumps(self.captions, ensure_ascii=False).encode(), np.uint8)
        with says_why(folder):
            write_safetensors(
                folder / FILE,
                {"directions": torch.from_numpy(self.directions), "captions": torch.from_numpy(written.copy())},
            )

    @classmethod
    def load(cls, folder: Path, width: int) -> Self | None:
        """Those of a folder, for states of `width` numbers; None where it has none. ModelError for a damaged file."""
        path = folder / FILE
        if not path.is_file():
            return None
        found = read_safetensors(path)
        directions, written = (found.get(name) for name in ("directions", "captions"))
        wrong = ModelError(f"{path} holds no known captions of this model; copy it again, or take it away")
        if directions is None or directions.dtype != torch.int8 or directions.shape[1:] != (width,):
            raise wrong
        if written is None or written.dtype != torch.uint8:
            raise wrong
        try:
            captions = json.loads(written.numpy().tobytes())
            json.dumps(captions, ensure_ascii=False).encode()  # half of a surrogate pair is no character
        except (ValueError, RecursionError):
            raise wrong from None
        if not isinstance(captions, list) or len(captions) != len(directions) or not captions:
            raise wrong
        if not all(isinstance(one, str) and one.strip() for one in captions):
            raise wrong
        return cls(directions.numpy(), captions)


def _pieces(text: str) -> Counter[str]:
    return Counter(text[at : at + PIECE] for at in range(max(len(text) - PIECE + 1, 1)))


def _likeness(text: Counter[str], other: Counter[str]) -> float:
    """How much of the other's pieces a text has, and, at a fifth of the weight, how much of its own the other has: F2,
    as chrF has it."""
    return 5 * (text & other).total() / (text.total() + 4 * other.total())
