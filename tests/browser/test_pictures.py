"""The page of a model that draws: what is written is drawn, and a picture that is dropped on it is described."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import pytest

from browser.conftest import serving

Image = pytest.importorskip("PIL.Image", reason="the extra vision is not installed")

from serving.drawer import drawer  # noqa: E402

DROP = """({ name, bytes }) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(bytes), one => one.charCodeAt())], name, { type: "image/png" }));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server whose model draws."""
    folder = tmp_path_factory.mktemp("models") / "drawer"
    drawer().save(folder)
    with serving(str(folder)) as address:
        yield address


def test_what_is_written_is_drawn_and_a_picture_that_is_dropped_is_described(chromium: Any, drawing: str):
    faults: list[str] = []
    page = chromium.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(30_000)
    page.on("console", lambda said: faults.append(said.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(drawing)
    page.get_by_text("Say what to draw").wait_for()
    page.get_by_label("Seed").fill("5")
    page.locator("#message").fill("a red apple")
    page.keyboard.press("Enter")
    drawn = page.locator(".answer img.picture")
    drawn.wait_for()
    sent = base64.b64decode(drawn.get_attribute("src").removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(sent)) as picture:
        assert picture.tobytes() == drawer().draw("a red apple", seed=5).tobytes()
    assert drawn.get_attribute("alt") == "a red apple (seed 5)"

    held = io.BytesIO()
    Image.new("RGB", (600, 300), "red").save(held, format="PNG")
    page.evaluate(DROP, {"name": "red.png", "bytes": base64.b64encode(held.getvalue()).decode()})
    page.locator("#files img").wait_for()
    page.get_by_label("Max tokens").fill("5")
    page.locator("#message").press("Enter")
    page.locator("#send").wait_for()
    asked = page.locator(".asked img.picture")
    with Image.open(io.BytesIO(base64.b64decode(asked.get_attribute("src").partition(",")[2]))) as picture:
        assert picture.size == (256, 128) and picture.convert("RGB").getpixel((9, 9)) == (255, 0, 0)
    assert page.locator(".answer").count() == 2 and page.locator(".answer .error").count() == 0
    page.reload()  # both are kept
    page.locator(".answer img.picture").wait_for()
    assert faults == []
    page.context.close()
