"""A small model that hears, and recordings for it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import tiny
import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from lmworks.hearing_model import HearingModel
from lmworks.models.families.whisper import WHISPER
from lmworks.models.hearing.config import SoundConfig
from lmworks.models.hearing.network import SoundNetwork
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.vocabulary import Vocabulary

ROLES = ("endoftext", "startoftranscript", "en", "de", "translate", "transcribe", "startoflm", "startofprev")
SPECIAL = [f"<|{role}|>" for role in (*ROLES, "nospeech", "notimestamps")]
PLACES = 50
"""Of a window of a second."""
SMALL: dict[str, Any] = {
    **WHISPER.fixed,
    "family": "whisper",
    "activation": "gelu",
    "vocab_size": 256 + len(SPECIAL) + PLACES + 1,
    "dim": 32,
    "layers": 2,
    "encoder_layers": 3,
    "heads": 4,
    "hidden_dim": 48,
    "context": 64,
    "mels": 80,
    "sound_places": PLACES,
}


def tokenizer() -> Tokenizer:
    """A token for every byte, and those of a Whisper of two languages; times follow the last of them."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(models.BPE(vocab={one: number for number, one in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in SPECIAL])
    end, start = (backend.token_to_id(SPECIAL[place]) for place in range(2))
    return Tokenizer(Vocabulary(backend, name="small", bos=start, eos=end, pad=end, target_start=start))


def model(seed: int = 0, **settings: Any) -> HearingModel:
    """A random network with every weight drawn, that hears windows of a second."""
    network = SoundNetwork(SoundConfig(**(SMALL | settings)))
    tiny.randomise(network, seed)
    return HearingModel(network.eval().requires_grad_(False), tokenizer(), reference="small")


def noise(seconds: float, rate: int = 16_000, seed: int = 0) -> np.ndarray:
    """Samples of noise that swells and fades."""
    count = round(seconds * rate)
    loud = np.sin(np.linspace(0, 7, count)) ** 2
    return (0.3 * loud * np.random.default_rng(seed).standard_normal(count)).clip(-1, 1).astype(np.float32)


def wav(path: Path, samples: np.ndarray, rate: int = 16_000, kind: int = 1, bits: int = 16) -> Path:
    """Write a WAV file of samples [samples] or [samples, channels]."""
    rows = samples.reshape(len(samples), -1).astype(np.float64)
    if kind == 3:
        data = rows.astype(f"<f{bits // 8}").tobytes()
    elif bits == 8:
        data = (np.round(rows * 127) + 128).astype(np.uint8).tobytes()
    else:
        whole = np.round(rows * (2 ** (bits - 1) - 1)).astype("<i8").tobytes()
        data = np.frombuffer(whole, np.uint8).reshape(-1, 8)[:, : bits // 8].tobytes()
    return riff(path, data, rows.shape[1], rate, kind, bits)


def riff(path: Path, data: bytes, channels: int, rate: int, kind: int, bits: int) -> Path:
    """Write a WAV file of these bytes."""
    row = channels * bits // 8
    said = struct.pack("<HHIIHH", kind, channels, rate, rate * row % 2**32, row, bits)
    chunks = b"fmt " + struct.pack("<I", len(said)) + said + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return path
