"""Recordings over the API: what they say, in OpenAI's five forms, and requests that are wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import hearing
import httpx
import pytest

from lmworks.hearing_model import HearingModel
from lmworks.serving.api.transcriptions import AT_ONCE
from lmworks.serving.service import Service
from lmworks.serving.settings import ServerLimits
from serving.live import Live, running

PATH = "/v1/audio/transcriptions"
LIMITS = ServerLimits(audio_bytes=200_000, body_bytes=1000, audio_seconds=10)


@pytest.fixture(scope="module")
def listening() -> Iterator[Live]:
    with running(Service(hearing.model(), name="small", limits=LIMITS)) as made:
        yield made


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hearing.wav(tmp_path_factory.mktemp("sound") / "a.wav", hearing.noise(2.3))


def send(live: Live, content: bytes, path: str = PATH, **fields: str) -> httpx.Response:
    return live.http.post(path, files={"file": ("a.wav", content)}, data=fields)


def test_a_transcript_is_what_python_gives_in_every_form(listening: Live, recording: Path):
    model = listening.service.model
    assert isinstance(model, HearingModel)
    expected, content = model.transcribe(recording), recording.read_bytes()
    assert len(content) > LIMITS.body_bytes
    assert send(listening, content).json() == {"text": expected.text}
    assert send(listening, content, response_format="text").text == f"{expected}\n"
    assert send(listening, content, response_format="srt").text == expected.srt()
    assert send(listening, content, response_format="vtt", model="small").text == expected.vtt()
    whole = send(listening, content, response_format="verbose_json", language="en").json()
    assert whole == {"task": "transcribe", **expected.facts()}


def test_openais_client_sends_recordings(listening: Live, recording: Path):
    with recording.open("rb") as file:
        said = listening.openai.audio.transcriptions.create(model="small", file=file)
    assert said.text == send(listening, recording.read_bytes()).json()["text"]


def test_what_is_wrong_with_a_request_is_one_sentence(listening: Live, recording: Path, tmp_path: Path):
    content, slow = recording.read_bytes(), hearing.riff(tmp_path / "slow.wav", bytes(11_000), 1, 1000, 1, 8)
    for sent, message in (
        (send(listening, b"Dear diary"), "a.wav is no recording of a kind that is read"),
        (send(listening, b""), "a.wav is an empty file"),
        (send(listening, slow.read_bytes()), "a.wav lasts 0.0 hours, and at most 0.00278 are read"),
        (send(listening, content, response_format="mp3"), "response_format is one of json, text, srt"),
        (send(listening, content, language="de"), "English alone"),
        (send(listening, content, langauge="de"), "langauge is not a field of this request"),
        (send(listening, content, **{"timestamp_granularities[]": "word"}), "words have none"),
        (send(listening, content, stream="true"), "a transcript is not streamed"),
        (send(listening, content, "/v1/audio/translations"), "English alone"),
        (listening.http.post(PATH, files={"sound": b"x"}), "no field file"),
        (listening.post("/v1/completions", prompt="a"), "writes down what recordings say, and reads no text"),
    ):
        assert sent.status_code == 400 and message in sent.json()["error"]["message"]
    assert listening.http.post(PATH, content=b"x").status_code == 415
    assert send(listening, content, model="none").status_code == 404
    assert send(listening, bytes(200_001)).status_code == 413
    assert listening.post("/v1/completions", prompt="a" * 1000).status_code == 413


def test_a_page_elsewhere_cannot_send_recordings(listening: Live, recording: Path):
    """A form is what a page may send anywhere without being asked."""
    files, own = {"file": ("a.wav", recording.read_bytes())}, listening.address
    for origin, status in (
        ("https://evil.example", 403),
        ("null", 403),
        (own, 200),
        (f"{own}0", 403),
        ("http://[", 403),
    ):
        assert listening.http.post(PATH, files=files, headers={"origin": origin}).status_code == status
    with running(Service(hearing.model(), name="small"), origins=["https://mine.example"]) as live:
        answers = [
            live.http.post(PATH, files=files, headers={"origin": f"https://{name}.example"}).status_code
            for name in ("mine", "evil")
        ]
    assert answers == [200, 403]


def test_the_model_says_that_it_hears(listening: Live):
    about = listening.http.get("/v1/models/small").json()["about"]
    assert (about["hears"], about["writes"], about["chats"]) == (True, False, False)


def test_a_recording_that_takes_too_long_is_given_up(recording: Path):
    with running(Service(hearing.model(), name="small", limits=ServerLimits(seconds=1e-6))) as live:
        assert send(live, recording.read_bytes()).status_code in (408, 503, 504)


def test_others_wait_while_two_recordings_are_heard(recording: Path, monkeypatch: pytest.MonkeyPatch):
    """And where as many wait as may, the next is told to come again."""
    heard, held, listen = threading.Event(), list[int](), HearingModel.listen
    begun = 0

    def counted(self: HearingModel, samples: Any, **asked: Any) -> Iterator[Any]:
        nonlocal begun
        begun += 1

        def windows() -> Iterator[Any]:
            nonlocal begun
            held.append(begun)
            assert heard.wait(60)
            yield from listen(self, samples, **asked)
            begun -= 1

        return windows()

    monkeypatch.setattr(HearingModel, "listen", counted)
    with (
        running(Service(hearing.model(), name="small", limits=ServerLimits(queue=3))) as live,
        ThreadPoolExecutor(6) as pool,
    ):
        answers = [pool.submit(send, live, recording.read_bytes()) for _ in range(6)]
        full = next(as_completed(answers, 60)).result()  # 2 are heard, 3 wait
        heard.set()
        assert full.status_code == 429 and full.json()["error"]["code"] == "queue_full"
        assert "3 recordings wait already" in full.json()["error"]["message"] and full.headers["retry-after"]
        assert sorted(answer.result().status_code for answer in answers) == [200] * 5 + [429]
    assert AT_ONCE == 2 and max(held) == 2


def test_the_wait_for_others_counts_among_a_recordings_seconds(recording: Path, monkeypatch: pytest.MonkeyPatch):
    ended = threading.Event()
    monkeypatch.setattr(HearingModel, "listen", lambda *_, **__: iter(lambda: ended.wait(60) and None, None))
    limits = ServerLimits(seconds=0.5)
    with running(Service(hearing.model(), name="small", limits=limits)) as live, ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(send, live, recording.read_bytes()) for _ in range(3)]
        late = next(as_completed(answers, 60)).result()
        ended.set()
        assert late.status_code == 504 and "others were heard meanwhile" in late.json()["error"]["message"]
        assert sorted(answer.result().status_code for answer in answers) == [200, 200, 504]


def form(*parts: bytes, end: bytes = b"--") -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b" + end + b"\r\n"


NAMED = b'Content-Disposition: form-data; name="file"; filename="a b.wav"'
ONE, FIELD = NAMED + b"\r\n\r\nno sound", b"Content-Disposition: form-data; name=prompt\r\n\r\nx"
KIND = "multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (form(ONE), "application/json", 415),
        (form(ONE), "multipart/form-data", 400),
        (b"", KIND, 400),
        (form(ONE)[:-25], KIND, 400),
        (form(b"no head"), KIND, 400),
        (form(b"Content-Disposition: form-data\r\n\r\nx"), KIND, 400),
        (form(b"X: " + b"y" * 9000 + b"\r\n\r\nx"), KIND, 400),
        (form(ONE, ONE), KIND, 400),
        (form(ONE, *[FIELD] * 65), KIND, 400),
        (form(b'Content-Disposition: form-data; name="file"\r\n\r\nno file'), KIND, 400),
        (form(b"Content-Disposition: form-data; name=file; filename*=idna''%ff\r\n\r\nx"), KIND, 400),
        (form(b"Content-Disposition: form-data; name=file; filename*=a\0b''c\r\n\r\nx"), KIND, 400),
        (form(b"Content-Disposition: form-data; name=file; filename*=utf-7''+2AA-.wav\r\n\r\nx"), KIND, 400),
        (form(ONE), f"{KIND}; charset=hex", 400),
        (form(ONE), "multipart/form-data; boundary*=idna''%ff", 400),
    ],
)
def test_what_is_no_form_is_refused(listening: Live, body: bytes, kind: str, status: int):
    answer = listening.http.post(PATH, content=body, headers={"content-type": kind})
    assert answer.status_code == status and answer.json()["error"]["message"]
