"""What may come next in a transcript, when a window is written again, and where the next one goes on."""

from __future__ import annotations

from dataclasses import replace

import hearing
import numpy as np
import pytest

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.generation import speech as of_speech
from lmworks.generation.speech import SpeechGuide, Written, pieces, spoken_language, write_well
from lmworks.generation.transcript import Segment, Transcript
from lmworks.tokens.speech import SpeechTokens

SPEECH = SpeechTokens.of(hearing.tokenizer(), hearing.SMALL["vocab_size"], {})
FIRST = SPEECH.times.start
A, B, END = 70, 71, SPEECH.end


def time(steps: int) -> int:
    return FIRST + steps


def allowed(written: list[int], logits: np.ndarray | None = None, timed: bool = True) -> set[int]:
    flat = np.zeros(hearing.SMALL["vocab_size"], np.float32)
    flat[[A, END]] = 20.0  # likelier than all times together
    left = SpeechGuide(SPEECH, timed, written).allowed(flat if logits is None else logits)
    return set(np.flatnonzero(left > -np.inf).tolist())


def test_a_text_begins_with_a_time_that_is_not_late():
    speech = replace(SPEECH, latest_first=7)
    left = SpeechGuide(speech, True).allowed(np.zeros(hearing.SMALL["vocab_size"], np.float32))
    assert set(np.flatnonzero(left > -np.inf)) == {time(step) for step in range(8)}


@pytest.mark.parametrize(
    ("written", "times", "words", "end"),
    [
        ([time(3)], [], True, True),  # a segment has begun
        ([time(3), A], range(4, 51), True, True),  # it ends after it began
        ([time(3), A, time(9)], range(9, 51), False, True),  # the next one, or the end
        ([time(3), A, time(9), time(12)], [], True, True),
        ([time(3), A, time(9), time(12), A], range(13, 51), True, True),
    ],
)
def test_times_come_in_pairs_and_never_go_back(written: list[int], times: list[int], words: bool, end: bool):
    left = allowed(written)
    assert {token for token in left if token >= FIRST} == {time(step) for step in times}
    assert (A in left, END in left) == (words, end)
    assert SPEECH.no_times not in left and not left & SPEECH.never


def test_a_time_comes_where_all_together_are_likelier_than_any_word():
    logits = np.full(hearing.SMALL["vocab_size"], -50.0, np.float32)
    logits[A], logits[FIRST:] = 1.0, 0.0  # 40 times of e^0 beside e^1
    assert A not in allowed([time(3), A], logits)
    logits[FIRST:] = -5.0
    assert A in allowed([time(3), A], logits)


def test_without_times_only_what_is_suppressed_is_taken_out():
    space = hearing.tokenizer().encode(" ", special=False)[0]
    assert {space, END}.isdisjoint(allowed([], timed=False)) and A in allowed([], timed=False)
    assert {space, END} <= allowed([A], timed=False) and not allowed([A], timed=False) & SPEECH.never


def test_the_guide_copies_itself():
    guide = SpeechGuide(SPEECH, True, [time(1)])
    other = guide.copy()
    other.accept(A)
    assert (guide.written, other.written, guide.complete) == ([time(1)], [time(1), A], False)


@pytest.mark.parametrize(
    ("tokens", "expected", "goes_on"),
    [
        ([time(0), A, time(25)], [(0.0, 0.5)], 1.0),
        ([time(5), A], [(0.1, 1.0)], 1.0),  # cut off by the end of the window, whose rest is not known
        ([time(0), A, time(20), time(20), B], [(0.0, 0.4)], 0.4),  # the second is heard again, whole
        ([time(0), A, time(20), time(30), B, time(45)], [(0.0, 0.4), (0.6, 0.9)], 1.0),
        ([time(0), A, time(20), time(20), B, time(40), time(40)], [(0.0, 0.4), (0.4, 0.8)], 0.8),
        ([A, B], [(0.0, 1.0)], 1.0),
        ([], [(0.0, 1.0)], 1.0),
    ],
)
def test_segments_and_where_the_next_window_goes_on(
    tokens: list[int], expected: list[tuple[float, float]], goes_on: float
):
    found, at = pieces(tokens, SPEECH, 1.0)
    assert [(round(one.start, 6), round(one.end, 6)) for one in found] == expected
    assert at == pytest.approx(goes_on)
    words = [token for one in found for token in one.tokens if token in (A, B)]
    assert words == [token for token in tokens if token in (A, B)][: len(words)]


def tried(monkeypatch: pytest.MonkeyPatch, *texts: Written) -> list[float]:
    """The temperatures at which a window is written, whose texts are these."""
    temperatures, left = [], list(texts)

    def write(runner, tokenizer, memory, speech, prompt, strategy, timed=True):
        temperatures.append(getattr(strategy, "temperature", 0.0))
        return left.pop(0)

    monkeypatch.setattr(of_speech, "write_down", write)
    write_well(None, None, None, SPEECH, [])
    return temperatures


GOOD = Written((A,), logprob=-0.3, no_speech=0.1, compression=1.2)


def test_a_window_is_written_again_until_it_is_good(monkeypatch: pytest.MonkeyPatch):
    again, unsure = replace(GOOD, compression=2.5), replace(GOOD, logprob=-1.1)
    assert tried(monkeypatch, GOOD) == [0.0]
    assert tried(monkeypatch, again, unsure, GOOD) == [0.0, 0.2, 0.4]
    assert tried(monkeypatch, *[again] * 6) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert tried(monkeypatch, replace(unsure, no_speech=0.7)) == [0.0]  # noise, however it is written


def test_an_improbable_text_of_silence_is_one_of_noise():
    assert replace(GOOD, logprob=-1.1, no_speech=0.7).of_noise
    assert not replace(GOOD, logprob=-0.9, no_speech=0.7).of_noise
    assert not replace(GOOD, logprob=-1.1, no_speech=0.5).of_noise
    assert replace(GOOD, no_speech=0.91).of_noise and not replace(GOOD, no_speech=0.89).of_noise


def test_a_higher_temperature_is_drawn_by_the_seed():
    model = hearing.model()
    memory = model.hear(hearing.noise(1.0))
    run = model.runner, model.tokenizer, memory, model.speech, [SPEECH.start]
    one, same, other = (write_well(*run, (1.0,), seed).tokens for seed in (1, 1, 2))
    assert one == same != other


def test_a_model_of_several_languages_says_which_and_what_it_does():
    speech = SpeechTokens.of(hearing.tokenizer(), hearing.SMALL["vocab_size"], {"is_multilingual": True})
    ids = {text: number for number, text in hearing.tokenizer().special.items()}
    assert speech.prompt("de", "translate") == [speech.start, ids["<|de|>"], ids["<|translate|>"]]
    assert list(speech.languages) == ["en", "de"]
    with pytest.raises(ConfigError, match=r"knows no language 'fr'; .*it is one of de, en"):
        speech.prompt("fr", "transcribe")
    with pytest.raises(ConfigError, match="English alone"):
        SPEECH.prompt("de", "transcribe")
    model = hearing.model()
    memory = model.hear(hearing.noise(1.0))
    logits = model.runner.next_logits(np.array([[speech.start]]), model.runner.new_cache(1, 4, memory))[0]
    likelier = max(("en", "de"), key=lambda code: logits[ids[f"<|{code}|>"]])
    assert spoken_language(model.runner, memory, speech) == likelier


def test_what_a_folder_says_of_its_tokens_is_checked():
    tokenizer, size = hearing.tokenizer(), hearing.SMALL["vocab_size"]
    assert SpeechTokens.of(tokenizer, size, {"suppress_tokens": [5, -1]}).never == {5}
    for wrong in ([size], ["a"], 7, [True]):
        with pytest.raises(ModelError, match="suppress_tokens is no list of ids below 317"):
            SpeechTokens.of(tokenizer, size, {"suppress_tokens": wrong})
    import tiny

    with pytest.raises(ModelError, match=r"has no <\|startoftranscript\|>"):
        SpeechTokens.of(tiny.byte_tokenizer(), size, {})


def test_subtitles_and_lines():
    one = Segment(0.0, 2.5, " It <b>\n\n& so.", (A,), 0.0, -0.2, 1.1, 0.0)
    other = Segment(3661.0004, 3662.9996, " On.", (B,), 0.0, -0.2, 1.1, 0.0)
    transcript = Transcript.of([one, other], "en", 3700.0)
    assert transcript == transcript.text == "It <b>\n\n& so. On."
    assert transcript.lines() == "[00:00.000 -> 00:02.500] It <b> & so.\n[01:01:01.000 -> 01:01:03.000] On."
    assert transcript.srt() == (
        "1\n00:00:00,000 --> 00:00:02,500\nIt <b> & so.\n\n2\n01:01:01,000 --> 01:01:03,000\nOn.\n\n"
    )
    assert transcript.vtt().startswith(
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.500\nIt &lt;b&gt; &amp; so.\n\n01:01:01.000"
    )
    facts = transcript.facts()
    assert facts["text"] == transcript.text and facts["duration"] == 3700.0
    assert [one["start"] for one in facts["segments"]] == [0.0, 3661.0]
