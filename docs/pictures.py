"""The pictures of the handbook, taken of the running product: python docs/pictures.py

page.png is the chat page of `lmworks serve smollm2` with an answer whose tokens are coloured by their surprise;
claim.png is the top of a claim's page and bench.png a bench below it, from the served lab. Needs playwright and a
Chromium (extra dev).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from lmworks.serving.run import served

HERE = Path(__file__).parent
QUESTION = "What is the capital of France, and what is it known for?"


def chat(page: Any, address: str) -> None:
    """A question, its answer, and what else one of its tokens could have been."""
    page.goto(address)
    page.get_by_label("Seed").fill("1")
    page.locator("#message").fill(QUESTION)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Tokens").click()
    page.locator(".token").nth(12).click()
    page.screenshot(path=str(HERE / "page.png"))


def lab(page: Any, address: str) -> None:
    """The page of claim 12 down to its figure, and the bench of sampling below it."""
    page.goto(f"{address}/lab/q12.html")
    page.screenshot(path=str(HERE / "claim.png"))
    page.goto(f"{address}/lab/q12.html#bench=sampling&temperature=0.8&top_k=10")
    page.locator("#bench-sampling[data-ready=whole]").screenshot(path=str(HERE / "bench.png"))


def main() -> None:
    """Take them."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with served("smollm2") as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for take in (chat, lab):
            page = browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme="light")
            page.set_default_timeout(120_000)
            take(page, address)
        browser.close()


if __name__ == "__main__":
    main()
