"""The pictures of the handbook, taken of the running product: python docs/pictures.py

page.png is the chat page of `lmworks serve smollm2` with an answer whose tokens are coloured by their surprise. Needs
playwright and a Chromium (extra dev).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

from lmworks.serving.run import served

HERE = Path(__file__).parent
QUESTION = "What is the capital of France, and what is it known for?"


def main() -> None:
    """Take them."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with served("smollm2") as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme="light")
        page.goto(address)
        page.get_by_label("Seed").fill("1")
        page.locator("#message").fill(QUESTION)
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Tokens").click()
        page.locator(".token").nth(12).click()
        page.screenshot(path=str(HERE / "page.png"))
        browser.close()


if __name__ == "__main__":
    main()
