"""The captions that a model was trained on, and which of them fits an image that it has not seen.

    known = KnownCaptions.of(states, captions)       # of images, [images, numbers], mean 0 and deviation 1
    known.save(folder)
    KnownCaptions.load(folder, 3712).best_for(states)    # a caption for each

The captions of the most similar images vote for one another: each votes for those that read like it, and its vote
weighs more the more similar its image is (Devlin et al. 2015, https://arxiv.org/abs/1505.04467).
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
VOTERS, TEMPERATURE = 20, 0.1
"""How many captions vote, and the temperature of the softmax over cosines that weighs their votes: chosen on emoji of
the training set, each without its own family."""
PIECE = 3
"""Characters of the pieces by which captions are compared."""
AT_ONCE = 1_024
"""Known images that are compared at once."""


class KnownCaptions:
    """Captions, and the directions of their images' states in 8 bits."""

    def __init__(self, directions: Int8[np.ndarray, "images states"], captions: Sequence[str]) -> None:
        """Both in the order of the images."""
        self.directions, self.captions = directions, list(captions)

    @classmethod
    def of(cls, states: Float[np.ndarray, "images states"], captions: Sequence[str], most: int) -> Self:
        """From the states and captions of images; where there are more than `most`, from that many, evenly spaced."""
        chosen = np.linspace(0, len(states) - 1, min(most, len(states))).astype(int)
        rows = states[chosen]
        largest = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-12)
        return cls(np.round(rows / largest * 127).astype(np.int8), [captions[at] for at in chosen])

    def best_for(self, states: Float[np.ndarray, "shown states"]) -> list[str]:
        """The caption that wins the vote for each image."""
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
        votes = np.exp((cosines - cosines[0]) / TEMPERATURE)
        pieces = [_pieces(one) for one in captions]
        totals = [votes @ [_likeness(one, voter) for voter in pieces] for one in pieces]
        return captions[int(np.argmax(totals))]

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
        """The captions in a folder, for states of `width` numbers; None where there are none. ModelError for a file
        that is damaged or of another model."""
        path = folder / FILE
        if not path.is_file():
            return None
        found = read_safetensors(path)
        directions, captions = found.get("directions"), _captions(found.get("captions"))
        fits = directions is not None and directions.dtype == torch.int8 and directions.shape == (len(captions), width)
        if directions is None or not fits or not captions:
            raise ModelError(f"{path} holds no captions that fit this model; copy it again, or delete it")
        return cls(directions.numpy(), captions)


def _captions(written: torch.Tensor | None) -> list[str]:
    """What a file's bytes say; of damaged ones no caption."""
    if written is None or written.dtype != torch.uint8:
        return []
    try:
        captions = json.loads(written.numpy().tobytes())
        json.dumps(captions, ensure_ascii=False).encode()  # half of a surrogate pair is no character
    except (ValueError, RecursionError):
        return []
    sound = isinstance(captions, list) and all(isinstance(one, str) and one.strip() for one in captions)
    return captions if sound else []


def _pieces(text: str) -> Counter[str]:
    return Counter(text[at : at + PIECE] for at in range(max(len(text) - PIECE + 1, 1)))


def _likeness(text: Counter[str], other: Counter[str]) -> float:
    """F2 of the pieces of a text beside the other's, from 0 to 1: recall counts twice as much as precision, as in
    chrF."""
    return 5 * (text & other).total() / (text.total() + 4 * other.total())
