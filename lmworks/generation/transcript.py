"""What a model heard: a text that knows its segments, and when each was said.

transcript = model.transcribe("talk.wav")
print(transcript)                     # the whole text
transcript.segments[0].start          # seconds
transcript.srt()                      # subtitles
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Segment:
    """Some words that were said together."""

    start: float
    """Seconds from the beginning of the recording."""
    end: float
    text: str
    tokens: tuple[int, ...]
    """The times at its ends included, where the model writes some."""
    temperature: float
    """At which its window was written: 0, or above where that was no good."""
    logprob: float
    """Mean log-probability of its window's tokens, natural."""
    compression: float
    """How many times smaller its window's text is when it is compressed: above 2.4 it repeats itself."""
    no_speech: float
    """The probability that nobody spoke in its window."""

    @property
    def words(self) -> str:
        """The text on one line."""
        return " ".join(self.text.split())


class Transcript(str):
    """The text of a recording."""

    segments: tuple[Segment, ...]
    language: str
    """Code of the language that is spoken: "en"."""
    seconds: float
    """Of the recording."""

    @classmethod
    def of(cls, segments: Sequence[Segment], language: str, seconds: float) -> Transcript:
        """The text of segments."""
        made = cls("".join(one.text for one in segments).strip())
        made.segments, made.language, made.seconds = tuple(segments), language, seconds
        return made

    @property
    def text(self) -> str:
        """The text as a plain string."""
        return str.__str__(self)

    def lines(self) -> str:
        """A line for each segment: [00:00.000 -> 00:02.500] and its words."""
        return "\n".join(f"[{_short(one.start)} -> {_short(one.end)}] {one.words}" for one in self.segments)

    def srt(self) -> str:
        """Subtitles as SubRip has them."""
        return "".join(
            f"{number}\n{_clock(one.start, ',')} --> {_clock(one.end, ',')}\n{one.words}\n\n"
            for number, one in enumerate(self.segments, 1)
        )

    def vtt(self) -> str:
        """Subtitles as WebVTT has them (https://www.w3.org/TR/webvtt1)."""
        cues = "".join(
            f"{_clock(one.start, '.')} --> {_clock(one.end, '.')}\n{_escaped(one.words)}\n\n" for one in self.segments
        )
        return f"WEBVTT\n\n{cues}"

    def facts(self) -> dict[str, Any]:
        """All of it as JSON has it, under the names of OpenAI's API."""
        return {
            "language": self.language,
            "duration": round(self.seconds, 3),
            "text": self.text,
            "segments": [
                {
                    "id": number,
                    "start": round(one.start, 3),
                    "end": round(one.end, 3),
                    "text": one.text,
                    "tokens": list(one.tokens),
                    "temperature": one.temperature,
                    "avg_logprob": round(one.logprob, 4),
                    "compression_ratio": round(one.compression, 3),
                    "no_speech_prob": round(one.no_speech, 4),
                }
                for number, one in enumerate(self.segments)
            ],
        }


def _clock(seconds: float, point: str) -> str:
    """Hours, minutes, seconds and milliseconds."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{milliseconds:03}"


def _short(seconds: float) -> str:
    clock = _clock(seconds, ".")
    return clock.removeprefix("00:")


def _escaped(text: str) -> str:
    """In WebVTT & and < begin something."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
