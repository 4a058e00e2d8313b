"""Images over the API: those that a client sends, and those that are drawn for it."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest

from serving.live import Live, running

pytest.importorskip("PIL.Image", reason="the extra vision is not installed")

from PIL import Image

import lmworks as lm
from lmworks.drawing_model import DrawingModel
from lmworks.serving.service import Service
from serving.drawer import drawer


@pytest.fixture(scope="module")
def drawing() -> Iterator[Live]:
    with running(Service(drawer(), name="drawer")) as made:
        yield made


def url_of(pixels: np.ndarray, kind: str = "PNG") -> str:
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, format=kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(held.getvalue()).decode()}"


def asking(*urls: str, text: str = "what") -> dict[str, object]:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}], "temperature": 0}


RED = np.full((8, 8, 3), (220, 20, 20), np.uint8)


def test_an_image_in_a_message_is_what_python_reads(drawing: Live):
    model = drawing.service.model
    expected = model.generate("what", images=[RED], max_new_tokens=9)
    said = drawing.openai.chat.completions.create(model="drawer", max_tokens=9, **asking(url_of(RED)))  # type: ignore[call-overload]
    assert said.choices[0].message.content == expected.text
    assert said.usage.prompt_tokens == 1 + 6 + 4  # the start, an image of four codes with its marks, the text
    other = drawing.post("/v1/chat/completions", **asking(url_of(255 - RED)), max_tokens=9).json()
    assert other["usage"]["prompt_tokens"] == 11


def test_an_image_in_a_response_is_what_a_chat_reads(drawing: Live):
    """Also where the response that had it goes on."""
    parts = [{"type": "input_image", "image_url": url_of(RED)}, {"type": "input_text", "text": "what"}]
    asked = {"max_output_tokens": 9, "temperature": 0}
    said = drawing.post("/v1/responses", input=[{"role": "user", "content": parts}], **asked).json()
    chat = drawing.post("/v1/chat/completions", max_tokens=9, **asking(url_of(RED))).json()
    assert said["output"][0]["content"][0]["text"] == chat["choices"][0]["message"]["content"]
    assert said["usage"]["input_tokens"] == chat["usage"]["prompt_tokens"] == 11
    more = drawing.post("/v1/responses", input="what", previous_response_id=said["id"], **asked).json()
    assert more["output"][0]["content"] == said["output"][0]["content"]
    wrong = [{"type": "input_image", "image_url": "data:image/png;base64,%%%"}]
    error = drawing.error("/v1/responses", input=[{"role": "user", "content": wrong}])
    assert error["param"] == "input.0.content" and "holds no base64" in error["message"]


def test_images_are_drawn_as_in_python(drawing: Live):
    answer = drawing.openai.images.generate(model="drawer", prompt="red", n=2, extra_body={"seed": 5, "guidance": 2})
    assert answer.data is not None and answer.created > 0
    drawn = [Image.open(io.BytesIO(base64.b64decode(one.b64_json or ""))) for one in answer.data]
    model = drawing.service.model
    assert isinstance(model, DrawingModel)
    assert [one.tobytes() for one in drawn] == [model.draw("red", seed=seed, guidance=2).tobytes() for seed in (5, 6)]
    plain = drawing.post("/v1/images/generations", prompt="red", size="8x8", response_format="b64_json").json()
    assert len(plain["data"]) == 1 and plain["data"][0]["seed"] >= 0
    about = drawing.http.get("/v1/models").json()["data"][0]["about"]
    assert about["draws"] is True


def bomb(side: int) -> str:
    """A PNG of some bytes that says it has so many pixels a side."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" * 100)), chunk(b"IEND", b"")]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(body)
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


@pytest.mark.parametrize(
    "url, words",
    [
        ("https://example.com/a.png", "is no data URL; send the image itself"),
        ("file:///etc/passwd", "is no data URL"),
        ("data:image/png;base64,%%%", "holds no base64 after its comma"),
        ("data:image/png;base64,aGVsbG8=", "is no image that is read"),
        ("data:text/html;base64,aGVsbG8=", "is no data URL"),
        (bomb(30_000), "more than 16 million pixels"),
        (bomb(5_000), "5,000 x 5,000 pixels; at most 16 million are read"),
    ],
)
def test_what_is_no_image_is_refused_in_a_sentence(drawing: Live, url: str, words: str):
    error = drawing.error("/v1/chat/completions", **asking(url))
    assert words in error["message"] and error["param"] == "messages.0.content"


def test_what_does_not_fit_is_refused_in_a_sentence(drawing: Live, live: Live):
    many = asking(*[url_of(RED)] * 17)
    assert "17 images; send at most 16" in drawing.error("/v1/chat/completions", **many)["message"]
    assert "images have 66 tokens" in drawing.error("/v1/chat/completions", **asking(*[url_of(RED)] * 11))["message"]
    assert "reads texts and no images" in live.error("/v1/chat/completions", **asking(url_of(RED)))["message"]
    assert "does not draw" in live.error("/v1/images/generations", prompt="red")["message"]
    assert "the model draws 8x8" in drawing.error("/v1/images/generations", prompt="a", size="512x512")["message"]
    assert "room for" in drawing.error("/v1/images/generations", prompt="red " * 60)["message"]
    said = drawing.error("/v1/images/generations", prompt="a", response_format="url")["message"]
    assert said == "response_format is 'url'; give 'b64_json'"
    assert "n is 17; give at most 16" in drawing.error("/v1/images/generations", prompt="a", n=17)["message"]


def test_the_address_of_a_model_that_writes_text_alone_says_so(live: Live):
    assert live.http.get("/v1/models").json()["data"][0]["about"]["draws"] is False
    assert not isinstance(live.service.model, DrawingModel) and isinstance(live.service.model, lm.LanguageModel)
