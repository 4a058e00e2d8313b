"""WAV files as samples: whole numbers of 8 to 32 bits, floats, and telephones' mu-law and A-law.

    wav = WavFile(file, "talk.wav")
    for block in wav.blocks(): ...       # float32 [samples, channels], between -1 and 1

Files are not trusted: sizes are checked against the file's own before memory is allocated. A recorder that was
interrupted leaves sizes of 0 or sizes that are too large; then the samples that are there are read.
Source: https://www.mmsp.ece.mcgill.ca/Documents/AudioFormats/WAVE/WAVE.html.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from lmworks.basics.arrays import Float
from lmworks.basics.errors import DataError

PCM, FLOAT, A_LAW, MU_LAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
WIDTHS = {PCM: (1, 2, 3, 4), FLOAT: (4, 8), A_LAW: (1,), MU_LAW: (1,)}
"""Bytes of a sample, by the kind of its numbers."""
MOST_CHANNELS, LEAST_RATE, MOST_RATE = 64, 1000, 768_000
MOST_CHUNKS = 10_000
AT_ONCE = 2**16
"""Samples of a block."""
UNSAID = 2**31 - 2**16
"""Bytes of samples from which on a size is none: programs write about as many, or 2**32 - 1, into a pipe."""

Block = Float[np.ndarray, "samples channels"]


class WavFile:
    """An open WAV file. DataError where it is none, is damaged, or holds numbers that are not read."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self.name = file, name
        self.size = file.seek(0, 2)
        file.seek(0)
        head = file.read(12)
        if len(head) < 12 or head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
            raise self.damaged("is no WAV file")
        self._find(file)

    def damaged(self, how: str) -> DataError:
        """The error that says what is wrong with the file."""
        return DataError(f"{self.name} {how}; record or copy it again, or make a WAV file of it with another program")

    def _find(self, file: BinaryIO) -> None:
        """Read what its chunks say, up to the samples."""
        said = False
        for _ in range(MOST_CHUNKS):
            head = file.read(8)
            if len(head) < 8:
                break
            name, size = head[:4], struct.unpack("<I", head[4:])[0]
            if name == b"data":
                if not said:
                    raise self.damaged("has samples before it says what they are")
                self.start = file.tell()
                there = self.size - self.start
                self.bytes = there if size in (0, 2**32 - 1) else min(size, there)
                self._said = max(size, self.bytes) if size < UNSAID else self.bytes
                return
            if name == b"fmt ":
                self._take_format(file.read(min(size, 40)))
                said = True
                size -= min(size, 40)
            file.seek(size + size % 2, 1)
        raise self.damaged("is a WAV file without samples")

    def _take_format(self, said: bytes) -> None:
        if len(said) < 16:
            raise self.damaged("is a WAV file that does not say what its samples are")
        kind, self.channels, self.rate, _, _, bits = struct.unpack("<HHIIHH", said[:16])
        if kind == EXTENSIBLE and len(said) >= 26:
            kind = struct.unpack("<H", said[24:26])[0]
        self.kind, self.width = kind, (bits + 7) // 8
        if kind not in WIDTHS or self.width not in WIDTHS[kind]:
            raise self.damaged(f"has samples of {bits} bits of the kind {kind}, which are not read")
        if not 1 <= self.channels <= MOST_CHANNELS or not LEAST_RATE <= self.rate <= MOST_RATE:
            raise self.damaged(f"says {self.channels} channels of {self.rate:,} samples a second")

    @property
    def samples(self) -> int:
        """Of one channel."""
        return self.bytes // (self.width * self.channels)

    @property
    def missing(self) -> float:
        """Seconds that the file says it has and has not; 0 where it does not say."""
        return (self._said - self.bytes) / (self.width * self.channels * self.rate)

    def blocks(self) -> Iterator[Block]:
        """All samples, some at a time."""
        row, left = self.width * self.channels, self.samples
        self._file.seek(self.start)
        while left:
            data = self._file.read(min(left, AT_ONCE) * row)
            if len(data) % row or not data:
                raise self.damaged("changed while it was read")
            left -= len(data) // row
            yield self._numbers(data).reshape(-1, self.channels)

    def _numbers(self, data: bytes) -> Float[np.ndarray, " numbers"]:
        if self.kind == FLOAT:
            floats = np.frombuffer(data, f"<f{self.width}")
            return np.nan_to_num(floats, nan=0.0, posinf=1.0, neginf=-1.0).clip(-8, 8).astype(np.float32)
        raw = np.frombuffer(data, np.uint8)
        if self.kind in (A_LAW, MU_LAW):
            return TABLES[self.kind][raw]
        if self.width == 1:  # the only one without a sign
            return (raw.astype(np.float32) - 128) / 128
        if self.width == 3:
            wide = np.zeros((len(raw) // 3, 4), np.uint8)
            wide[:, 1:] = raw.reshape(-1, 3)
            return wide.view("<i4")[:, 0].astype(np.float32) / 2**31
        numbers = np.frombuffer(data, f"<i{self.width}")
        return numbers.astype(np.float32) / 2 ** (8 * self.width - 1)


def _a_law() -> Float[np.ndarray, " bytes"]:
    """The sample of each byte (ITU-T G.711)."""
    code = np.arange(256) ^ 0x55
    step, part = (code >> 4) & 7, code & 15
    size = np.where(step == 0, 2 * part + 1, (2 * part + 33) << np.maximum(step - 1, 0))
    return (np.where(code & 128, size, -size) / 4096).astype(np.float32)


def _mu_law() -> Float[np.ndarray, " bytes"]:
    code = ~np.arange(256) & 255
    size = ((2 * (code & 15) + 33) << ((code >> 4) & 7)) - 33
    return (np.where(code & 128, -size, size) / 8192).astype(np.float32)


TABLES = {A_LAW: _a_law(), MU_LAW: _mu_law()}
