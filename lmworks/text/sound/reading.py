"""A recording as one row of samples at the rate that a network hears: any channels, joined by their mean.

    samples = read_sound(Path("talk.wav"), 16_000)       # float32, between -1 and 1

WAV files are read here; FLAC, Ogg and MP3 by soundfile (extra `audio`).
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lmworks.basics import progress
from lmworks.basics.arrays import Float
from lmworks.basics.errors import DataError
from lmworks.basics.extras import require
from lmworks.basics.files import regular
from lmworks.text.sound.resampling import Resampler
from lmworks.text.sound.wav import AT_ONCE, LEAST_RATE, MOST_CHANNELS, MOST_RATE, Block, WavFile

MOST_SECONDS = 6 * 3600
"""The longest recording that is read: 1.4 GB of samples at 16 kHz."""
OTHERS = (b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff")
"""How files begin that soundfile reads: FLAC, Ogg, MP3 with a title, AIFF, AU, CAF."""

WORTH_TELLING = 0.1
"""Seconds missing at a recording's end from which the user is told."""
STDERR = 2
"""Standard error, as a library in C knows it."""
UNKNOWN = 2**62
"""soundfile reports this many samples or more where a file does not give a number: FLAC that was written to a pipe."""

Samples = Float[np.ndarray, " samples"]


def read_sound(path: Path, rate: int) -> Samples:
    """The samples of a file at this rate; a note where a part of it could not be read. DataError, one sentence, for
    what is no recording, is longer than MOST_SECONDS, or is empty."""
    missing = list[float]()
    try:
        with regular(path).open("rb") as file, _complaints() as told:
            samples = sound_of(file, str(path), rate, missing=missing)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if told:
        progress.note(f"{path} is damaged in places, and was read as far as it goes ({told[0]})")
    if sum(missing) > WORTH_TELLING:
        progress.note(
            f"{path} ends {missing[0]:,.1f} seconds before the end that it says (cut off while copying?), and was read "
            "as far as it goes"
        )
    return samples


@contextlib.contextmanager
def _complaints() -> Iterator[list[str]]:
    """The lines that decoders written in C (MP3's) print to standard error inside the block, there to be read after
    it. Another thread's lines would be among them, which is why a server reads without it."""
    told = list[str]()
    with contextlib.ExitStack() as stack:
        try:
            if sys.__stderr__ is None:  # it was closed, and another file may have its number
                raise OSError
            real, kept = os.dup(STDERR), stack.enter_context(tempfile.TemporaryFile())
        except OSError:  # there is none, or no room for what it says
            yield told
            return
        sys.stderr.flush()
        os.dup2(kept.fileno(), STDERR)
        try:
            yield told
        finally:
            os.dup2(real, STDERR)
            os.close(real)
            kept.seek(0)
            lines = kept.read(2**16).decode(errors="replace").splitlines()
            told += [line.rpartition("] ")[2] for line in lines]  # after the place in its source


def sound_of(
    file: BinaryIO, name: str, rate: int, most: float | None = None, missing: list[float] | None = None
) -> Samples:
    """The same for an open file, which errors call `name`, of `most` seconds at most (MOST_SECONDS unless given). The
    seconds that a WAV file claims and does not hold are appended to `missing`."""
    most = MOST_SECONDS if most is None else min(most, MOST_SECONDS)
    blocks, own_rate, count = _opened(file, name, most, [] if missing is None else missing)
    if count > most * own_rate:
        raise DataError(
            f"{name} lasts {count / own_rate / 3600:.1f} hours, and at most {most / 3600:.3g} are read; cut it into "
            "parts"
        )
    parts = (block.mean(axis=1, dtype=np.float32) for block in blocks)
    if own_rate == rate:
        made = [*parts]
    else:
        resampler = Resampler(own_rate, rate)
        made = [*map(resampler.take, parts), resampler.finish()]
    samples = np.concatenate([np.zeros(0, np.float32), *made])
    if not len(samples):
        raise DataError(f"{name} is a recording without samples; give one in which something can be heard")
    return samples


def _opened(file: BinaryIO, name: str, most: float, missing: list[float]) -> tuple[Iterator[Block], int, int]:
    """Its blocks, samples a second, and how many there are."""
    head = file.read(12)
    if not head:
        raise DataError(f"{name} is an empty file; give a recording")
    if head.startswith(OTHERS) or _begins_mp3(head):
        return _by_soundfile(file, name, most)
    if head[:4] not in (b"RIFF", b"RF64"):
        raise DataError(
            f"{name} is no recording of a kind that is read (WAV; FLAC, Ogg and MP3 with lmworks[audio]); make a WAV "
            f"file of it: ffmpeg -i {Path(name).name} {Path(name).stem}-16k.wav"
        )
    wav = WavFile(file, name)
    missing.append(wav.missing)
    return wav.blocks(), wav.rate, wav.samples


def _begins_mp3(head: bytes) -> bool:
    """A frame of MPEG's layer III: eleven bits of 1, then its version, then the layer as 01."""
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2


def _by_soundfile(file: BinaryIO, name: str, most: float) -> tuple[Iterator[Block], int, int]:
    library = require("soundfile", "audio")
    file.seek(0)
    try:
        sound = library.SoundFile(_Seekable(file))
    except library.LibsndfileError as error:
        raise DataError(f"{name} cannot be read ({_why(error)}); copy or convert it again") from None
    if not 1 <= sound.channels <= MOST_CHANNELS or not LEAST_RATE <= sound.samplerate <= MOST_RATE:
        raise DataError(f"{name} says {sound.channels} channels of {sound.samplerate:,} samples a second; convert it")
    count = sound.frames
    if count > UNKNOWN:  # after each block it would look for its place, which at such a file's end it cannot find
        count, sound.seekable = 0, lambda: False
    return _blocks_of(library, sound, name, most), sound.samplerate, count


class _Seekable:
    """A file for a library that cannot be told of an error: sought at a place that is none (before its beginning, as
    the header of a damaged file says), it stays where it is. An exception would be printed and be lost."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.tell, self.readinto = file.tell, file.readinto  # type: ignore[attr-defined]

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        """Where it is then."""
        with contextlib.suppress(OSError, ValueError, OverflowError):
            self._file.seek(place, whence)
        return self._file.tell()


def _why(error: Exception) -> str:
    said = str(getattr(error, "error_string", error)).rstrip(".")
    return "it holds no whole sound" if said.startswith("File does not exist") else said  # it does: MP3 without a frame


def _blocks_of(library: Any, sound: Any, name: str, most: float) -> Iterator[Block]:
    try:
        with sound:
            left = round(most * sound.samplerate)  # what it says of its length may be wrong
            while left > 0 and len(block := sound.read(min(left, AT_ONCE), dtype="float32", always_2d=True)):
                left -= len(block)
                yield block
            if not left and len(sound.read(1)):
                raise DataError(
                    f"{name} lasts more than {most / 3600:.3g} hours, which it does not say; cut it into parts"
                )
    except library.LibsndfileError as error:
        raise DataError(f"{name} is damaged ({_why(error)}); copy or convert it again") from None
