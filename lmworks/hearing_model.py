"""HearingModel: a model that writes down what a recording says, Whisper say.

model = lm.load("whisper")
transcript = model.transcribe("talk.wav")
print(transcript)
print(transcript.srt())
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from lmworks.basics import progress
from lmworks.basics.arguments import checked
from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError, DataError, ModelError
from lmworks.basics.files import write_json
from lmworks.generation.speech import TEMPERATURES, Written, pieces, spoken_language, write_well
from lmworks.generation.transcript import Segment, Transcript
from lmworks.kernels.choice import default_bits
from lmworks.language_model import LanguageModel, no_hearing
from lmworks.models.config import RopeScaling
from lmworks.models.files.model_folder import read_config, read_json
from lmworks.models.files.references import resolve
from lmworks.models.hearing.config import SoundConfig
from lmworks.models.hearing.features import HOP, RATE, WINDOW, log_mel
from lmworks.text.sound.reading import read_sound
from lmworks.tokens.speech import KNOWN, SpeechTokens, Task

if TYPE_CHECKING:
    import torch

    from lmworks.models.runner import Encoded

SILENT = 1e-4
"""A window that never gets this loud (80 dB below the loudest that a file can hold) holds nobody's voice."""
LEAST_STEP = 50
"""Frames that a window lies after the one before it, at least; a rest of fewer holds no words."""
PREPROCESSING, GENERATION = "preprocessor_config.json", "generation_config.json"
IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")

Samples = Float[np.ndarray, " samples"]


class Heard(NamedTuple):
    """What one window said."""

    segments: list[Segment]
    until: float
    """Seconds of the recording that are done."""
    language: str | None
    """Of the recording, where it was given or told."""


class HearingModel(LanguageModel):
    """Writes down recordings. Its network reads features of sound, and its tokenizer has times."""

    hears = True

    @classmethod
    def load(
        cls,
        reference: str | os.PathLike[str],
        *,
        dtype: str | torch.dtype | None = None,
        device: str = "cpu",
        compress: str | None = None,
        rope_scaling: RopeScaling | None = None,
    ) -> Self:
        """Load an alias, a directory or hf:org/name. It runs compiled, in 16 bits unless `compress` says fewer; with
        "none", with a `dtype`, and where it cannot be compiled, in PyTorch, in float32 unless told otherwise."""
        if rope_scaling is not None:
            raise ConfigError(f"{reference} reads sound, and has no rotary positions; leave rope_scaling out")
        if compress is None and dtype is None and device == "cpu":
            compress = default_bits(read_config(resolve(str(reference))))
        if compress in (None, "none"):
            dtype, compress = dtype or "float32", None
        model = super().load(reference, dtype=dtype, device=device, compress=compress)
        model.check_files()
        return model

    def check_files(self) -> None:
        """ModelError where the folder's files do not fit together."""
        _ = self.speech  # its tokens are all there
        said = self.said(PREPROCESSING)
        expected = {"sampling_rate": RATE, "hop_length": HOP, "n_fft": WINDOW}
        expected |= {"feature_size": self._sound.mels, "chunk_length": self._sound.frames * HOP // RATE}
        for name, value in expected.items():
            if said.get(name, value) != value:
                raise ModelError(
                    f"{self.source}: {PREPROCESSING} says {name} = {said[name]!r}, and {value} is what is done here"
                )

    @property
    def _sound(self) -> SoundConfig:
        assert isinstance(self.config, SoundConfig)
        return self.config

    def said(self, name: str) -> dict[str, Any]:
        """What a JSON file of its folder says; nothing where there is none."""
        path = None if self.source is None else self.source / name
        return read_json(path) if path is not None and path.is_file() else {}

    @cached_property
    def speech(self) -> SpeechTokens:
        """What its special tokens mean. ModelError where some are missing."""
        said = self.said("config.json") | self.said(GENERATION)
        return SpeechTokens.of(self.tokenizer, self.config.vocab_size, said)

    @property
    def languages(self) -> list[str]:
        """Codes of the languages that it writes down."""
        return sorted(self.speech.languages) or ["en"]

    def must_write(self) -> None:
        """ConfigError: it writes down recordings and continues no text."""
        raise ConfigError(
            f"{self.reference or 'the model'} writes down what recordings say, and reads no text; give it one with "
            "model.transcribe (lmworks transcribe)"
        )

    def write_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer's files, and what the model's own folder says of features and of what it writes."""
        super().write_tokenizer(folder)
        own = {name: value for name, value in self.said(GENERATION).items() if name in KNOWN}
        one_end = {"eos_token_id": self.speech.end}  # transformers' rules for times take no list
        write_json(folder / GENERATION, {**read_json(folder / GENERATION), **own, **one_end})
        ids = {name: value for name, value in self.said("config.json").items() if name in IDS}
        write_json(folder / "config.json", {**read_json(folder / "config.json"), **ids})
        features = {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "processor_class": "WhisperProcessor",
            "feature_size": self._sound.mels,
            "sampling_rate": RATE,
            "hop_length": HOP,
            "n_fft": WINDOW,
            "chunk_length": self._sound.frames * HOP // RATE,
            "padding_value": 0.0,
            "return_attention_mask": False,
        }
        write_json(folder / PREPROCESSING, features)

    @checked
    def transcribe(
        self,
        recording: str | os.PathLike[str] | Samples,
        *,
        language: str | None = None,
        task: Task = "transcribe",
        seed: int = 0,
        beams: int = 1,
    ) -> Transcript:
        """What a recording says: a file, or samples at 16 kHz between -1 and 1, of any length.

        A model of several languages tells the `language` by the first window unless its code is given, and writes
        English of it where the `task` is "translate". Of several `beams` the best text is taken. DataError for what is
        no recording, ConfigError for a language that the model does not know.
        """
        samples = recording if isinstance(recording, np.ndarray) else read_sound(Path(recording), RATE)
        heard, told = list[Segment](), language or "en"
        seconds, until = len(samples) / RATE, 0.0
        what = "listening" if isinstance(recording, np.ndarray) else f"listening to {Path(recording).name}"
        with progress.task(what, round(seconds, 1), "seconds of sound") as advance:
            for window in self.listen(samples, language=language, task=task, seed=seed, beams=beams):
                heard += window.segments
                told = window.language or told
                advance(window.until - until)
                until = window.until
        return Transcript.of(heard, told, seconds)

    def listen(
        self,
        samples: Samples,
        *,
        language: str | None = None,
        task: Task = "transcribe",
        seed: int = 0,
        beams: int = 1,
    ) -> Iterator[Heard]:
        """What samples at 16 kHz say, window by window; arguments and errors as of `transcribe`."""
        samples = _checked(samples)
        known = self.speech.prompt(language, task) if language or not self.speech.languages else None
        at, total = 0, -(-len(samples) // HOP)
        while at < total and (not at or total - at >= LEAST_STEP):
            window = samples[at * HOP : (at + self._sound.frames) * HOP]
            step, found = min(self._sound.frames, total - at), list[Segment]()
            if np.abs(window).max() >= SILENT:
                memory = self.hear(window)
                if known is None:
                    language = spoken_language(self.runner, memory, self.speech)
                    known = self.speech.prompt(language, task)
                written = write_well(self.runner, self.tokenizer, memory, self.speech, known, TEMPERATURES, seed, beams)
                found, goes_on = self._segments(written, at * HOP / RATE, len(window) / RATE)
                step = min(max(round(goes_on * RATE / HOP), LEAST_STEP), step)
            at += step
            yield Heard(found, min(at * HOP, len(samples)) / RATE, language)

    def hear(self, samples: Samples) -> Encoded:
        """What the encoder makes of one window of samples; a shorter one is filled up with silence."""
        size = self._sound.frames * HOP
        filled = np.pad(samples[:size], (0, max(size - len(samples), 0)))
        with self.runner.evaluating():
            return self.runner.encode(log_mel(filled, self._sound.mels)[None])

    def _segments(self, written: Written, start: float, seconds: float) -> tuple[list[Segment], float]:
        """The segments of a window that begins at `start` and holds this many seconds, and where the next one goes on
        in it."""
        if written.of_noise:
            return [], seconds
        found, goes_on = pieces(written.tokens, self.speech, seconds)
        return [
            Segment(
                start + min(one.start, seconds),
                start + min(one.end, seconds),
                text,
                one.tokens,
                written.temperature,
                written.logprob,
                written.compression,
                written.no_speech,
            )
            for one in found
            if _holds_words(text := self.speech.text_of(self.tokenizer, one.tokens)) and one.start < one.end
        ], goes_on


def _holds_words(text: str) -> bool:
    """Quiet noise becomes a segment of a full stop now and then, which nobody said."""
    return any(letter.isalnum() for letter in text)


def _checked(samples: Samples) -> Samples:
    """DataError for what is no row of samples."""
    if samples.ndim != 1 or samples.dtype.kind != "f" or not len(samples) or not np.isfinite(samples).all():
        raise DataError(
            f"samples of the shape {list(samples.shape)} in {samples.dtype} are no recording; give finite floats in "
            "one row, at 16 kHz between -1 and 1"
        )
    return samples.astype(np.float32, copy=False)


def hearing(model: LanguageModel) -> HearingModel:
    """The model where it hears. ConfigError where it does not."""
    if isinstance(model, HearingModel):
        return model
    raise no_hearing(model)
