"""Recordings as samples: every kind of number, rates, channels, and files that are none."""

from __future__ import annotations

import io
import itertools
import os
import struct
import sys
import warnings
from pathlib import Path

import hearing
import numpy as np
import pytest

from lmworks.basics.errors import DataError
from lmworks.text.sound import reading
from lmworks.text.sound.reading import read_sound
from lmworks.text.sound.resampling import Resampler
from lmworks.text.sound.wav import A_LAW, MU_LAW, TABLES

RATE = 16_000


@pytest.mark.parametrize(("kind", "bits"), [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)])
def test_every_kind_of_number_is_read(kind: int, bits: int, tmp_path: Path):
    samples = hearing.noise(0.3)
    samples[:2] = -1.0, 1.0
    read = read_sound(hearing.wav(tmp_path / "a.wav", samples, RATE, kind, bits), RATE)
    steps = {(1, 8): 127, (1, 16): 2**15 - 1}.get((kind, bits), 2**23)
    assert read.dtype == np.float32 and len(read) == len(samples)
    np.testing.assert_allclose(read, samples, atol=1.5 / steps)


def test_channels_are_joined_by_their_mean(tmp_path: Path):
    one, other = hearing.noise(0.2, seed=1), hearing.noise(0.2, seed=2)
    read = read_sound(hearing.wav(tmp_path / "a.wav", np.stack([one, other], axis=1), RATE, 3, 32), RATE)
    np.testing.assert_allclose(read, (one + other) / 2, atol=1e-6)


def test_telephones_laws_are_those_of_g711():
    """Some values of the recommendation's tables, in steps of 13 and 14 bits, and what holds of all."""
    mu, a = TABLES[MU_LAW] * 8192, TABLES[A_LAW] * 4096
    assert [mu[byte] for byte in (0x00, 0x7F, 0x80, 0xFF, 0xF0)] == [-8031, 0, 8031, 0, 30]
    assert [a[byte] for byte in (0x55, 0xD5, 0x2A, 0xAA)] == [-1, 1, -4032, 4032]
    for table in (mu, a):
        np.testing.assert_array_equal(np.sort(table), -np.sort(table)[::-1])


@pytest.mark.parametrize("law", [MU_LAW, A_LAW])
def test_telephones_recordings_are_read(law: int, tmp_path: Path):
    samples = hearing.noise(0.2, 8000)
    codes = np.abs(TABLES[law][None] - samples[:, None]).argmin(axis=1).astype(np.uint8)
    path = hearing.riff(tmp_path / "a.wav", codes.tobytes(), 1, 8000, law, 8)
    np.testing.assert_allclose(read_sound(path, 8000), samples, atol=0.04)


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_tones_are_the_same_at_another_rate(rate: int, tmp_path: Path):
    at = np.arange(rate) / rate
    tone = 0.5 * np.sin(2 * np.pi * 440 * at) + 0.2 * np.sin(2 * np.pi * 3000 * at)
    read = read_sound(hearing.wav(tmp_path / "a.wav", tone, rate, 3, 32), RATE)
    at = np.arange(RATE) / RATE
    expected = 0.5 * np.sin(2 * np.pi * 440 * at) + 0.2 * np.sin(2 * np.pi * 3000 * at)
    assert len(read) == RATE
    np.testing.assert_allclose(read[500:-500], expected[500:-500], atol=1e-3)


def test_what_the_new_rate_cannot_hold_is_taken_out():
    """A tone of 9 kHz would be one of 7 kHz in samples at 16 kHz."""
    at = np.arange(48_000) / 48_000
    resampler = Resampler(48_000, RATE)
    made = np.concatenate([resampler.take(np.sin(2 * np.pi * 9000 * at).astype(np.float32)), resampler.finish()])
    assert np.abs(made[500:-500]).max() < 1e-3


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000])
def test_samples_are_the_same_however_they_are_cut(rate: int):
    samples = hearing.noise(0.7, rate)
    whole, parts = Resampler(rate, RATE), Resampler(rate, RATE)
    expected = np.concatenate([whole.take(samples), whole.finish()])
    cuts = [0, 1, 2, 50, 1000, 1000, 4097, len(samples)]
    made = [parts.take(samples[start:end]) for start, end in itertools.pairwise(cuts)]
    np.testing.assert_allclose(np.concatenate([*made, parts.finish()]), expected, atol=1e-6)


def test_a_rate_that_shares_nothing_with_the_new_one_takes_few_filters(monkeypatch: pytest.MonkeyPatch):
    """Each filter costs a fraction of a millisecond: made for every block anew, they took longer than the sound."""
    made, rate, at = list[int](), 44_101, np.arange(44_101) / 44_101
    monkeypatch.setattr(np, "i0", lambda x, real=np.i0: made.append(np.size(x)) or real(x))
    resampler = Resampler(rate, RATE)
    tone = np.sin(2 * np.pi * 440 * at).astype(np.float32)
    parts = [*(resampler.take(one) for one in np.array_split(tone, 4)), resampler.finish()]
    assert sum(size > 1 for size in made) <= 2048
    new, expected = np.concatenate(parts), np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    assert abs(len(new) - RATE) <= 1
    np.testing.assert_allclose(new[500:-500], expected[500 : len(new) - 500], atol=1e-3)


def test_sizes_that_a_stopped_recorder_left_are_not_believed(tmp_path: Path):
    samples = hearing.noise(0.1)
    path = hearing.wav(tmp_path / "a.wav", samples)
    whole = path.read_bytes()
    for size in (0, 2**32 - 1, 10**6):
        path.write_bytes(whole[:40] + struct.pack("<I", size) + whole[44:])
        assert len(read_sound(path, RATE)) == len(samples)
    path.write_bytes(whole[:-1])  # half a sample at the end is none
    assert len(read_sound(path, RATE)) == len(samples) - 1


def test_a_recording_that_was_cut_off_is_read_and_says_so(tmp_path: Path):
    path = hearing.wav(tmp_path / "a.wav", hearing.noise(2.0))
    whole = path.read_bytes()
    path.write_bytes(whole[: 44 + RATE])  # of two bytes each
    with pytest.warns(UserWarning, match=r"a\.wav ends 1\.5 seconds before the end that it says \(cut off"):
        assert len(read_sound(path, RATE)) == RATE // 2
    for size in (0, 2**31 - 4096, 2**32 - 1):  # a pipe's
        path.write_bytes(whole[:40] + struct.pack("<I", size) + whole[44:])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(read_sound(path, RATE)) == 2 * RATE


def test_other_chunks_and_the_extensible_form_are_read(tmp_path: Path):
    samples = hearing.noise(0.1)
    whole = hearing.wav(tmp_path / "a.wav", samples).read_bytes()
    said = struct.pack("<HHIIHHHHIH", 0xFFFE, 1, RATE, 2 * RATE, 2, 16, 22, 16, 4, 1) + bytes(14)
    chunks = b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"fmt " + struct.pack("<I", len(said)) + said
    path = tmp_path / "b.wav"
    path.write_bytes(b"RIFF\xff\xff\xff\xffWAVE" + chunks + whole[36:])
    np.testing.assert_allclose(read_sound(path, RATE), samples, atol=1e-4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is an empty file; give a recording"),
        (b"Dear diary, today", "no recording of a kind that is read .* ffmpeg -i a.wav a-16k.wav"),
        (b"RIFF", "is no WAV file"),
        (b"RIFF\0\0\0\0AVI LIST", "is no WAV file"),
        (b"RIFF\0\0\0\0WAVE", "a WAV file without samples"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "has samples before it says what they are"),
        (b"RIFF\0\0\0\0WAVEfmt \4\0\0\0abcd", "does not say what its samples are"),
    ],
)
def test_what_is_no_recording_is_one_sentence(content: bytes, message: str, tmp_path: Path):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_sound(path, RATE)


@pytest.mark.parametrize(
    ("channels", "rate", "kind", "bits", "message"),
    [
        (1, RATE, 2, 4, "4 bits of the kind 2"),
        (1, RATE, 1, 64, "64 bits of the kind 1"),
        (0, RATE, 1, 16, "0 channels"),
        (65, RATE, 1, 16, "65 channels"),
        (1, 0, 1, 16, "of 0 samples a second"),
        (1, 2**31, 1, 16, "2,147,483,648 samples a second"),
        (1, RATE, 1, 16, "a recording without samples"),
    ],
)
def test_headers_that_say_nonsense_are_one_sentence(
    channels: int, rate: int, kind: int, bits: int, message: str, tmp_path: Path
):
    with pytest.raises(DataError, match=message):
        read_sound(hearing.riff(tmp_path / "a.wav", b"", channels, rate, kind, bits), RATE)


def test_a_recording_of_days_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading, "MOST_SECONDS", 3600)
    path = hearing.riff(tmp_path / "a.wav", b"", 1, 1000, 1, 8)
    with path.open("r+b") as file:
        file.truncate(5000 * 3600)
    with pytest.raises(DataError, match=r"lasts 5\.0 hours, and at most 1 are read"):
        read_sound(path, RATE)


def test_floats_that_are_none_are_silence_or_the_loudest(tmp_path: Path):
    samples = np.array([np.nan, np.inf, -np.inf, 0.5], np.float32)
    path = hearing.riff(tmp_path / "a.wav", samples.tobytes(), 1, RATE, 3, 32)
    assert read_sound(path, RATE).tolist() == [0.0, 1.0, -1.0, 0.5]


def test_a_folder_and_nothing_are_one_sentence(tmp_path: Path):
    for path in (tmp_path, tmp_path / "none.wav"):
        with pytest.raises(DataError, match="cannot be read"):
            read_sound(path, RATE)


@pytest.mark.parametrize(
    ("kind", "rate"), [("FLAC", RATE), ("OGG", RATE), ("MP3", RATE), ("MP3", 8000), ("MP3", 44_100), ("AIFF", RATE)]
)
def test_other_kinds_are_read_by_soundfile(kind: str, rate: int, tmp_path: Path):
    library = pytest.importorskip("soundfile", reason="pip install 'lmworks[audio]'")
    at = np.arange(rate) / rate
    tone = (0.5 * np.sin(2 * np.pi * 440 * at)).astype(np.float32)
    path = tmp_path / "tone.bin"
    library.write(path, np.stack([tone, tone], axis=1), rate, format=kind)
    read = read_sound(path, RATE)
    assert abs(len(read) - RATE) < 5000
    spectrum = np.abs(np.fft.rfft(read[4000:12_000]))
    assert spectrum.argmax() * RATE / 8000 == pytest.approx(440, abs=4)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DataError, match=r"cannot be read|damaged|without samples"):
        read_sound(path, RATE)


def test_a_stream_that_does_not_say_its_length_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As FLAC is that was written to a pipe; one that is too long is not cut off silently."""
    library = pytest.importorskip("soundfile", reason="pip install 'lmworks[audio]'")
    path = tmp_path / "pipe.flac"
    library.write(path, hearing.noise(3.0), RATE)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the number of samples: 36 bits
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert len(read_sound(path, RATE)) == 3 * RATE
    monkeypatch.setattr(reading, "MOST_SECONDS", 2)
    with pytest.raises(DataError, match=r"lasts more than .* hours"):
        read_sound(path, RATE)
    monkeypatch.setattr(reading, "MOST_SECONDS", 3)
    assert len(read_sound(path, RATE)) == 3 * RATE


def test_a_damaged_file_is_our_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A header that leads before the file's beginning, of a path and of what a client sent."""
    printed = list[object]()
    monkeypatch.setattr(sys, "unraisablehook", printed.append)  # where what cannot be raised within C goes
    library = pytest.importorskip("soundfile", reason="pip install 'lmworks[audio]'")
    path = tmp_path / "a.aiff"
    library.write(path, hearing.noise(0.5), RATE)
    content = path.read_bytes()
    at = content.index(b"SSND")
    path.write_bytes(content[:at] + b"SRND\xff\xff\xff\x00" + content[at + 8 :])
    with pytest.raises(DataError, match=r"a\.aiff cannot be read"):
        read_sound(path, RATE)
    with pytest.raises(DataError, match="sent cannot be read"):
        reading.sound_of(io.BytesIO(path.read_bytes()), "sent", RATE)
    assert not printed


def test_what_a_decoder_prints_of_a_damaged_file_is_one_note(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    library = pytest.importorskip("soundfile", reason="pip install 'lmworks[audio]'")
    path = tmp_path / "a.mp3"
    library.write(path, hearing.noise(1.0), RATE)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.warns(UserWarning, match=r"a\.mp3 is damaged in places, and was read as far as it goes \(\w"):
        assert 0 < len(read_sound(path, RATE)) < RATE
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"a\.mp3 cannot be read"):
        read_sound(path, RATE)
    os.write(2, b"still there")
    assert capfd.readouterr() == ("", "still there")
