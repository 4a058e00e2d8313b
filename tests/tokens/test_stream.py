"""Streaming: what is shown never has to be taken back, and joined it is the whole."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmworks.basics.errors import ConfigError
from lmworks.tokens.stream import StreamDecoder

SPICY = st.text(st.sampled_from("ab é日👩‍👍🏽\n") | st.characters(exclude_categories=["Cs"]), max_size=40)


def stream(tokenizer, ids, stop=()):
    decoder = StreamDecoder(tokenizer, stop)
    shown = []
    for number in ids:
        shown.append(decoder.push(number))
        if decoder.stopped is not None:
            break
    return [*shown, decoder.finish()], decoder.stopped


@settings(max_examples=200)
@given(text=SPICY)
def test_the_joined_stream_is_the_decoded_whole_and_never_cuts_a_character(text, tiny):
    """Pitfall 32."""
    parts, stopped = stream(tiny, tiny.encode(text))
    assert "".join(parts) == text and stopped is None
    assert all("\ufffd" not in part for part in parts) or "\ufffd" in text


@settings(max_examples=200)
@given(ids=st.lists(st.integers(0, 699), max_size=30))
def test_any_ids_stream_to_what_they_decode_to(ids, tiny):
    assert "".join(stream(tiny, ids)[0]) == tiny.decode(ids)


@settings(max_examples=200)
@given(ids=st.lists(st.integers(0, 280), max_size=30))
def test_any_sentencepiece_ids_stream_to_what_they_decode_to(ids, pieces):
    assert "".join(stream(pieces, ids)[0]) == pieces.decode(ids)


@settings(max_examples=200)
@given(text=st.text("ab \n", max_size=12))
def test_white_space_before_the_first_character_can_be_skipped_and_holds_no_stop(text, tiny):
    decoder = StreamDecoder(tiny, ["\n"], skips_space=True)
    shown = "".join([*map(decoder.push, tiny.encode(text)), decoder.finish()])
    before, found, _ = text.lstrip().partition("\n")
    assert shown == before and decoder.stopped == (found or None)


@settings(max_examples=500)
@given(
    pieces_=st.lists(st.text("abc", min_size=1, max_size=3), max_size=12),
    stops=st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_text_before_the_first_stop_is_whole_under_every_split(pieces_, stops, tiny):
    """Pitfall 31."""
    text = "".join(pieces_)
    ids = [number for piece in pieces_ for number in tiny.encode(piece)]
    parts, stopped = stream(tiny, ids, stops)
    places = [(text.find(stop), -len(stop), stop) for stop in stops if stop in text]
    if places:
        place, _, expected = min(places)
        assert ("".join(parts), stopped) == (text[:place], expected)
    else:
        assert ("".join(parts), stopped) == (text, None)


def test_what_may_become_a_stop_is_held_back_and_shown_when_it_does_not(tiny):
    decoder = StreamDecoder(tiny, ["END"])
    ids = [tiny._markup.token_to_id(letter) for letter in "xENyEND"]
    assert [decoder.push(number) for number in ids] == ["x", "", "", "ENy", "", "", ""]
    assert (decoder.stopped, decoder.push(ids[0]), decoder.finish()) == ("END", "", "")


def test_an_emoji_is_shown_when_its_last_byte_has_come(tiny):
    decoder = StreamDecoder(tiny)
    alphabet = {byte: letter for letter, byte in tiny._alphabet.items()}
    ids = [tiny._markup.token_to_id(alphabet[byte]) for byte in "👍".encode()]
    assert [decoder.push(number) for number in ids] == ["", "", "", "👍"]


def test_the_space_that_sentencepiece_puts_in_front_is_not_shown(pieces):
    assert "".join(stream(pieces, pieces.encode("he wor"))[0]) == "he wor"


def test_special_tokens_are_not_shown(tiny):
    assert "".join(stream(tiny, [*tiny.encode("a"), tiny.eos, *tiny.encode("b")])[0]) == "ab"


def test_time_per_token_does_not_grow_with_the_text(tiny):
    decoder, ids = StreamDecoder(tiny, ["never"]), tiny.encode("some words ") * 5000
    start = time.thread_time()
    for number in ids[:5000]:
        decoder.push(number)
    first = time.thread_time() - start
    start = time.thread_time()
    for number in ids[5000:]:
        decoder.push(number)
    assert time.thread_time() - start < 5 * first * (len(ids) - 5000) / 5000 + 0.1


def test_an_empty_stop_is_refused(tiny):
    with pytest.raises(ConfigError, match="none of them empty"):
        StreamDecoder(tiny, [""])
    with pytest.raises(ConfigError, match="list of texts"):
        StreamDecoder(tiny, "stop")
