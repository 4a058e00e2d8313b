"""HearingModel as its users meet it: windows one after another, silence, files, mistakes, the verb."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import hearing
import numpy as np
import pytest
import tiny
import torch

import lmworks as lm
from lmworks import hearing_model
from lmworks.basics.errors import ConfigError, DataError, ModelError
from lmworks.basics.files import write_json
from lmworks.basics.terminal import printable
from lmworks.cli import main
from lmworks.generation.speech import Written
from lmworks.hearing_model import HearingModel
from lmworks.models.hearing.features import log_mel
from lmworks.models.hearing.network import SoundNetwork

RATE = 16_000
A, B = 70, 71


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that hears, one that writes, a recording."""
    folder = tmp_path_factory.mktemp("hearing")
    hearing.model().save(folder / "small")
    tiny.language_model().save(folder / "writer")
    hearing.wav(folder / "a.wav", hearing.noise(1.7))
    return folder


def scripted(monkeypatch: pytest.MonkeyPatch, *texts: list[int], **facts: Any) -> list[np.ndarray]:
    """Let windows have these texts; returns the features that the network was given, once it was."""
    left, heard = list(texts), list[np.ndarray]()
    good = replace(Written((), logprob=-0.3, no_speech=0.1, compression=1.2), **facts)

    def write(runner, tokenizer, memory, *given):
        heard.append(memory)
        return replace(good, tokens=tuple(left.pop(0)))

    monkeypatch.setattr(hearing_model, "write_well", write)
    return heard


def times(model: HearingModel, *seconds: float) -> list[int]:
    return [model.speech.times.start + round(one / 0.02) for one in seconds]


def test_what_is_saved_is_loaded_and_hears_the_same(folder: Path):
    made, loaded = hearing.model(), lm.load(folder / "small")
    assert isinstance(loaded, HearingModel) and isinstance(loaded.network, SoundNetwork)
    states = [one.hear(hearing.noise(1.0)).states for one in (made, loaded)]
    biases = torch.zeros(1)  # of keys, which change nothing, are not kept
    torch.testing.assert_close(states[1], states[0] + biases, rtol=1e-4, atol=1e-5)
    said = json.loads((folder / "small" / "preprocessor_config.json").read_text())
    assert (said["feature_size"], said["chunk_length"], said["hop_length"]) == (80, 1, 160)


def test_what_a_folder_says_stays_when_it_is_saved_again(folder: Path, tmp_path: Path):
    hearing.model().save(tmp_path / "a")
    said = {"is_multilingual": True, "suppress_tokens": [5], "max_initial_timestamp_index": 3, "eos_token_id": 256}
    path = tmp_path / "a" / "generation_config.json"
    write_json(path, json.loads(path.read_text()) | said)
    lm.load(tmp_path / "a").save(tmp_path / "b")
    again = lm.load(tmp_path / "b")
    assert isinstance(again, HearingModel)
    assert (again.speech.never, again.speech.latest_first, again.languages) == ({5}, 3, ["de", "en"])


def test_windows_go_on_where_the_last_segment_ended(monkeypatch: pytest.MonkeyPatch):
    model = hearing.model()
    samples = hearing.noise(2.2)
    heard, starts = list[np.ndarray](), [0.0, 0.62, 1.62]
    monkeypatch.setattr(HearingModel, "hear", lambda self, window: heard.append(window))
    first, second = times(model, 0.0, 0.62), times(model, 0.1, 0.9)
    scripted(monkeypatch, [first[0], A, first[1], first[1], B], [second[0], B, second[1]], [*times(model, 0.0), A])
    transcript = model.transcribe(samples)
    assert [len(window) for window in heard] == [RATE, RATE, round(0.58 * RATE)]
    for window, start in zip(heard, starts, strict=True):
        begin = round(start * RATE)
        np.testing.assert_array_equal(window, samples[begin : begin + RATE])
    found = [(round(one.start, 2), round(one.end, 2)) for one in transcript.segments]
    assert found == [(0.0, 0.62), (0.72, 1.52), (1.62, 2.2)]
    decoded = [model.tokenizer.decode([one]) for one in (A, B)]
    assert transcript == f"{decoded[0]}{decoded[1]}{decoded[0]}" and transcript.seconds == 2.2


def test_a_rest_of_less_than_half_a_second_holds_no_words(monkeypatch: pytest.MonkeyPatch):
    """Of some hundredths of a second such models write a "you"."""
    model = hearing.model()
    first, second = times(model, 0.0, 0.7)
    heard = scripted(monkeypatch, [first, A, second, second, B], [first, B])
    assert len(model.transcribe(hearing.noise(1.19)).segments) == len(heard) == 1
    heard = scripted(monkeypatch, [first, A, second, second, B], [first, B])
    assert len(model.transcribe(hearing.noise(1.21)).segments) == len(heard) == 2
    heard = scripted(monkeypatch, [first, A])
    assert model.transcribe(hearing.noise(0.1)).segments[0].end == pytest.approx(0.1) and len(heard) == 1


def test_a_window_that_ends_where_it_began_still_goes_on(monkeypatch: pytest.MonkeyPatch):
    model = hearing.model()
    monkeypatch.setattr(HearingModel, "hear", lambda self, window: None)
    short = times(model, 0.0, 0.02)
    texts = [[short[0], A, short[1], short[1], B]] * 9
    scripted(monkeypatch, *texts)
    assert len(model.transcribe(hearing.noise(2.0)).segments) == 4  # half a second at least, each time


def test_silence_and_noise_are_no_text(monkeypatch: pytest.MonkeyPatch):
    model = hearing.model()
    assert model.transcribe(np.zeros(3 * RATE, np.float32)) == ""  # nothing is asked of the network
    heard = scripted(monkeypatch, [*times(model, 0.0), A], logprob=-1.5, no_speech=0.9)
    transcript = model.transcribe(hearing.noise(0.9))
    assert (transcript, transcript.segments, len(heard)) == ("", (), 1)


def test_silent_windows_are_passed_over(monkeypatch: pytest.MonkeyPatch):
    model = hearing.model()
    samples = np.concatenate([np.full(2 * RATE, 1e-5, np.float32), hearing.noise(0.5)])
    scripted(monkeypatch, [*times(model, 0.1), A, *times(model, 0.3)])
    [segment] = model.transcribe(samples).segments
    assert (round(segment.start, 3), round(segment.end, 3)) == (2.1, 2.3)


def test_a_segment_without_a_letter_is_none(monkeypatch: pytest.MonkeyPatch):
    """Quiet noise becomes full stops."""
    model = hearing.model()
    [dot] = model.tokenizer.encode(".", special=False)
    scripted(monkeypatch, [*times(model, 0.0), dot, *times(model, 0.2, 0.3), A, *times(model, 0.5)])
    [segment] = model.transcribe(hearing.noise(0.9)).segments
    assert segment.start == pytest.approx(0.3) and segment.text == model.tokenizer.decode([A])


def test_a_short_recording_is_filled_up_with_silence():
    model, samples = hearing.model(), hearing.noise(0.4)
    filled = np.concatenate([samples, np.zeros(RATE - len(samples), np.float32)])
    expected = model.network.encode(torch.from_numpy(log_mel(filled))[None])
    torch.testing.assert_close(model.hear(samples).states, expected.states)


def test_a_language_is_told_by_the_first_window_unless_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hearing.model().save(tmp_path / "a")
    path = tmp_path / "a" / "generation_config.json"
    write_json(path, json.loads(path.read_text()) | {"is_multilingual": True})
    model = lm.load(tmp_path / "a")
    assert isinstance(model, HearingModel)
    prompts = []

    def write(runner, tokenizer, memory, speech, prompt, *more):
        prompts.append(list(prompt))
        return Written((A,), -0.3, 0.1, 1.0)

    monkeypatch.setattr(hearing_model, "write_well", write)
    monkeypatch.setattr(hearing_model, "spoken_language", lambda *given: "de")
    assert model.transcribe(hearing.noise(2.0)).language == "de"
    assert model.transcribe(hearing.noise(0.5), language="en", task="translate").language == "en"
    ids = {text: number for number, text in model.tokenizer.special.items()}
    start, german, english, transcribe, translate = (
        ids[f"<|{one}|>"] for one in ("startoftranscript", "de", "en", "transcribe", "translate")
    )
    assert prompts == [[start, german, transcribe]] * 2 + [[start, english, translate]]


@pytest.mark.parametrize(
    "samples", [np.zeros((2, 2), np.float32), np.zeros(4, np.int16), np.zeros(0, np.float32), np.full(9, np.nan)]
)
def test_what_is_no_row_of_samples_is_one_sentence(samples: np.ndarray):
    with pytest.raises(DataError, match="are no recording; give finite floats"):
        hearing.model().transcribe(samples)


def test_what_such_a_model_does_not_do_is_one_sentence(folder: Path):
    model = lm.load(folder / "small")
    for call in (lambda: model.generate("a"), lambda: model.score("a", prompt="b"), lambda: list(model.stream("a"))):
        with pytest.raises(ConfigError, match="writes down what recordings say, and reads no text"):
            call()
    with pytest.raises(ConfigError):
        model.embed(["a"])
    with pytest.raises(ConfigError, match=r"compress=int8 cannot be had: .*head_dim is 8"):
        lm.load(folder / "small", compress="int8")
    with pytest.raises(ModelError, match=r"lm\.load loads it"):
        lm.LanguageModel.load(folder / "small")


def test_features_of_another_kind_are_refused(tmp_path: Path):
    hearing.model().save(tmp_path / "a")
    path = tmp_path / "a" / "preprocessor_config.json"
    write_json(path, json.loads(path.read_text()) | {"hop_length": 200})
    with pytest.raises(ModelError, match="hop_length = 200, and 160 is what is done here"):
        lm.load(tmp_path / "a")


def run(*words: object) -> int:
    """Run `lmworks WORDS` as from a shell; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["lmworks", *map(str, words)])
        try:
            main()
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else 0
    return 0


def test_the_verb_writes_what_python_gives(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model = lm.load(folder / "small")
    assert isinstance(model, HearingModel)
    expected = model.transcribe(folder / "a.wav")
    ask = ["transcribe", folder / "a.wav", "--model", folder / "small"]
    assert run(*ask, "--json") == 0
    [told] = json.loads(capsys.readouterr().out)
    assert told == json.loads(json.dumps({"file": str(folder / "a.wav"), **expected.facts()}))
    for suffix, content in (("srt", expected.srt()), ("vtt", expected.vtt()), ("txt", f"{expected}\n")):
        assert run(*ask, "--out", tmp_path / f"a.{suffix}") == 0
        assert (tmp_path / f"a.{suffix}").read_bytes().decode() == content
        assert f"wrote   {tmp_path}/a.{suffix}" in capsys.readouterr().out
    assert run(*ask, "--timestamps") == 0
    assert expected and capsys.readouterr().out == f"{printable(expected.lines())}\n"
    assert run(*ask, "--timestamps", "--out", tmp_path / "a.txt") == 0
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == f"{expected.lines()}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.wav"], "none.wav is not there; give another path"),
        (["."], ". is a folder; give its files"),
        (["a.wav", "--out", "a.mp3"], "--out a.mp3 names no kind of transcript; end it with one of .txt, .srt"),
        (["a.wav", "a.wav", "--out", "a.srt"], "--out a.srt takes one recording, and there are 2"),
        (["a.wav", "--task", "sing"], "--task is 'sing'; it is one of transcribe, translate"),
        (["a.wav", "--beams", "0"], "--beams is 0; give a number from 1 to 16"),
        (["a.wav", "--language", "de"], "writes down English alone"),
        (["a.wav", "--model", "writer"], "writer hears nothing; take one that writes down speech (whisper)"),
        (["empty.wav"], "empty.wav is an empty file"),
        (["text.wav"], "text.wav is no recording of a kind that is read"),
    ],
)
def test_mistakes_are_one_sentence(
    words: list[str], message: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(folder)
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("Dear diary")
    model = [] if "--model" in words else ["--model", "small"]
    assert run("transcribe", *words, *model) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("lmworks: ") == 1 and "Traceback" not in error


def test_a_damaged_recording_does_not_keep_the_others_from_being_written_down(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(folder)
    (folder / "text.wav").write_text("Dear diary")
    (folder / "b.wav").write_bytes((folder / "a.wav").read_bytes())
    assert run("transcribe", "a.wav", "text.wav", "b.wav", "--model", "small", "--json") == 1
    shown = capsys.readouterr()
    assert [one["file"] for one in json.loads(shown.out)] == ["a.wav", "b.wav"]
    assert "text.wav is no recording" in shown.err and "1 of 3 recordings could not be read" in shown.err


def test_a_recording_by_a_model_that_is_not_whisper(folder: Path):
    writer = lm.load(folder / "writer")
    for hear in (hearing_model.hearing, lambda model: model.transcribe(folder / "a.wav")):
        with pytest.raises(ConfigError, match=r"writer hears nothing; take one that writes down speech \(whisper\)$"):
            hear(writer)
