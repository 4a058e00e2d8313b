"""The chat page as files: its words, its size, what it may do, and how it is sent."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from typing import get_args, get_type_hints

import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from lmworks.generation.strategies import Sample
from lmworks.grounding.answer import Reason
from lmworks.grounding.places import Place
from lmworks.lab.site.words import Words, languages
from lmworks.serving.api.chat_requests import ChatRequest
from lmworks.serving.api.requests import NAMES
from lmworks.serving.errors import tell_errors
from lmworks.serving.page import language, mount
from lmworks.serving.page.files import HERE, LANGUAGES, LATER, SLIDERS, files, more

FACTS = re.compile(r"\{(\w+)\}")


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = FastAPI()
    tell_errors(app)
    mount(app)
    with TestClient(app) as made:
        yield made


def test_every_word_is_in_every_language_and_none_is_idle():
    scripts = "\n".join(text.decode() for name, text in files().items() if name.endswith(".js"))
    html, english = (HERE / "page.html").read_text(), Words.of("en", LANGUAGES)
    page = {*re.findall(r'\bt\("(\w+)"', html), "language", "script"}
    for name, *_ in SLIDERS:
        page |= {name, f"{name}_hint"}
    for code in languages(LANGUAGES):
        words = Words.of(code, LANGUAGES)
        assert set(words.said) == page, code
        assert words.group("script").keys() == english.group("script").keys(), code
        for named, text in words.group("script").items():
            key = named.removesuffix("_one")  # the singular of it
            assert f'"{key}"' in scripts or f"{{ {key}:" in scripts or f't("{key}' in scripts, key
            assert sorted(FACTS.findall(text)) == sorted(FACTS.findall(english.group("script")[named])), (code, named)
    asked = set(re.findall(r'\bt\("(\w+)"', scripts))
    assert asked <= english.group("script").keys()


def test_the_page_knows_every_reason_and_every_kind_of_place():
    for kind in (Reason, Place):
        names = get_args(get_type_hints(kind)["kind"])
        assert json.dumps(names) in files()["cited.js"].decode()


def test_every_setting_that_is_a_number_has_a_control_and_is_a_field_of_a_request():
    fields = set(re.findall(r'data-field="(\w+)"', files()["index.en.html"].decode()))
    numbers = [name for name, field in Sample.model_fields.items() if re.search("int|float", str(field.annotation))]
    assert fields == {NAMES.get(name, name) for name in numbers if name != "logit_bias"}
    assert fields <= ChatRequest.model_fields.keys() and {name for name, *_ in more()} < fields


def test_the_page_is_small():
    packed = {name: len(gzip.compress(content, 6)) for name, content in files().items()}
    scripts = sum(size for name, size in packed.items() if name.endswith(".js") and name not in LATER)
    assert scripts < 22_000 and packed["index.en.html"] < 9_000 and packed["index.de.html"] < 9_000


def test_it_is_sent_compressed_once_and_allows_nothing_from_elsewhere(client):
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert page.headers["content-encoding"] == "gzip" and page.headers["x-content-type-options"] == "nosniff"
    again = client.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/page/main.js").headers["content-type"].startswith("text/javascript")
    for name in ("nothing.js", "index.en.html", "files.py"):
        missing = client.get(f"/page/{name}")
        assert missing.status_code == 404 and "of the page; it is at /" in missing.text
    assert client.get("/page/..%2Ffiles.py").status_code == 404


@pytest.mark.parametrize(
    ("asked", "accepted", "code"),
    [
        ("", "", "en"),
        ("", "fr, de-AT;q=0.8, en;q=0.5", "de"),
        ("", "en-GB,en;q=0.9,de;q=0.8", "en"),
        ("de", "en", "de"),
        ("../x", "xx;q=1.1.1, *", "en"),
    ],
)
def test_the_language_is_the_one_that_is_asked_for_or_accepted(client, asked, accepted, code):
    assert language(asked, accepted) == code
    page = client.get(
        "/", params={"lang": asked}, headers={"Accept-Language": accepted} if accepted else {"Accept-Language": "x"}
    )
    assert f'<html lang="{code}">' in page.text


def test_a_server_that_speaks_of_a_model_says_what_it_can_do(live):
    [model] = httpx.get(f"{live.address}/v1/models").json()["data"]
    about = model["about"]
    assert about["writes"] and about["chats"] and not about["documents"] and not about["translates"]
    assert (about["layers"], about["heads"]) == (live.service.model.config.layers, 4)
