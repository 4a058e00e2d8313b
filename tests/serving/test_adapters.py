"""Adapters beside a served model: listed with their parent, chosen by name, each found its base, others refused."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tiny
from adaptation.adapted import GPT2, adapter_folder, bottleneck_folder, prompt_folder

import lmworks as lm
from lmworks.adaptation.dora import DoRALinear
from lmworks.adaptation.nf4 import VALUES
from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.basics.files import write_json
from lmworks.cli.options import adapters_of
from lmworks.kernels import unavailable
from lmworks.loading import fingerprint
from lmworks.serving.opening import Opening, one, several
from serving.live import SHAPE, Live, running, small

PROMPT = "once upon a time"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, and adapters: x and y of the first, z of the second."""
    folder = tmp_path_factory.mktemp("served")
    small().save(folder / "first")
    tiny.language_model(seed=5, **SHAPE).save(folder / "second")
    for number, (name, base) in enumerate((("x", "first"), ("y", "first"), ("z", "second"))):
        network = lm.load(folder / base).network
        made = adapter_folder(folder / name, network, str(folder / base), seed=number, rank=3 + number)
        write_json(made / "lmworks.json", {"base": {"sha256": fingerprint(folder / base)}})
    return folder


@pytest.fixture(scope="module")
def live(root: Path) -> Iterator[Live]:
    opening = Opening(adapters={"x": root / "x", "y/2": root / "y"})
    with running(one(str(root / "first"), opening, name="first")) as made:
        yield made


def complete(live: Live, name: str | None, **more: Any) -> Any:
    answer = live.post("/v1/completions", prompt=PROMPT, model=name, max_tokens=8, temperature=0, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_models_lists_adapters_with_their_parent(live: Live, root: Path):
    listed = live.http.get("/v1/models").json()["data"]
    assert [(one["id"], one["parent"]) for one in listed] == [("first", None), ("x", "first"), ("y/2", "first")]
    assert all(one["max_model_len"] == 512 and one["loaded"] for one in listed)
    assert live.http.get("/v1/models/y/2").json()["parent"] == "first"
    alone = [lm.load(root / name).parameters for name in ("first", "x", "y")]
    assert [one["about"]["parameters"] for one in listed] == alone and len(set(alone)) == 3
    assert [one.id for one in live.openai.models.list()] == ["first", "x", "y/2"]


def test_a_request_chooses_its_adapter_by_the_models_name(live: Live, root: Path):
    told = {name: complete(live, name) for name in ("first", "x", "y/2", None)}
    assert [one["model"] for one in told.values()] == ["first", "x", "y/2", "first"]
    texts = {name: one["choices"][0]["text"] for name, one in told.items()}
    assert texts["first"] == texts[None] and len(set(texts.values())) == 3
    for name, folder in (("first", "first"), ("x", "x"), ("y/2", "y")):
        assert lm.load(root / folder).generate(PROMPT, max_new_tokens=8).text == texts[name]
    streamed = live.openai.completions.create(model="x", prompt=PROMPT, max_tokens=8, temperature=0, stream=True)
    chunks = list(streamed)
    assert "".join(one.choices[0].text for one in chunks) == texts["x"] and {one.model for one in chunks} == {"x"}


def test_every_way_to_ask_takes_an_adapters_name(live: Live):
    turns = [{"role": "user", "content": "hello"}]
    chats = {name: live.post("/v1/chat/completions", messages=turns, model=name, max_tokens=8, temperature=0).json()
             for name in ("first", "x")}  # fmt: skip
    assert chats["x"]["model"] == "x"
    assert len({one["choices"][0]["message"]["content"] for one in chats.values()}) == 2
    vectors = [live.post("/v1/embeddings", input="hello", model=name).json() for name in ("first", "x")]
    assert vectors[1]["model"] == "x" and vectors[0]["data"] != vectors[1]["data"]
    looks = [live.post("/v1/inspect", prompt="hello", model=name, layers=[]).json() for name in ("first", "x")]
    assert looks[1]["model"] == "x" and looks[0]["next"] != looks[1]["next"]
    counts = [live.post("/tokenize", prompt="hello", model=name).json()["count"] for name in ("first", "x")]
    assert counts[0] == counts[1]


def test_adapters_of_several_kinds_are_served_at_once(root: Path, tmp_path: Path):
    network = lm.load(root / "first").network
    folders = {
        "lora": root / "x",
        "dora": adapter_folder(tmp_path / "dora", network, str(root / "first"), seed=8, kind=DoRALinear),
        "houlsby": bottleneck_folder(tmp_path / "houlsby", network, "houlsby", seed=9, base=str(root / "first")),
        "prompt": prompt_folder(tmp_path / "prompt", network, seed=10, base=str(root / "first")),
    }
    with running(one(str(root / "first"), Opening(adapters=folders), name="first")) as live:
        texts = {name: complete(live, name)["choices"][0]["text"] for name in ("first", *folders)}
        used = {name: complete(live, name)["usage"] for name in ("first", "prompt")}
        assert used["first"]["prompt_tokens"] == used["prompt"]["prompt_tokens"]  # its vectors are no tokens
        listed = {one["id"]: one["max_model_len"] for one in live.http.get("/v1/models").json()["data"]}
        assert listed == dict.fromkeys(texts, 512) | {"prompt": 507}
        nexts = [live.post("/v1/next_token", prompt="hello", model=name).json()["top"] for name in ("first", "prompt")]
        assert nexts[0] != nexts[1]
        for path, asked in (("inspect", {"prompt": "hello", "layers": []}), ("embeddings", {"input": "hello"})):
            answer = live.post(f"/v1/{path}", model="prompt", **asked)
            assert answer.status_code == 400 and "'prompt' is a trained prompt" in answer.json()["error"]["message"]
        answer = live.post("/v1/completions", prompt="a", model="ia3", max_tokens=1)
        assert (
            answer.json()["error"]["message"]
            == "there is no model 'ia3'; there is first, lora, dora, houlsby and prompt"
        )
    alone = {"first": root / "first"} | folders
    for name, folder in alone.items():
        exact = lm.load(folder, compress="none")
        assert exact.generate(PROMPT, max_new_tokens=8).text == texts[name], name
    assert len(set(texts.values())) == len(texts)


@pytest.mark.parametrize("shape", [{}, GPT2 | {"context": 128}], ids=["rotary", "learned"])
def test_a_trained_prompts_vectors_are_room_that_is_taken_and_no_tokens(shape: dict[str, Any], tmp_path: Path):
    made = small(**shape)
    base, reads = str(made.save(tmp_path / "base")), made.longest - 5
    adapters = {"p": prompt_folder(tmp_path / "p", made.network, 5, base=base)}
    adapters["x"] = adapter_folder(tmp_path / "x", made.network, base)
    with running(one(base, Opening(adapters=adapters), name="base")) as live:
        for name, longest in (("p", reads), ("x", reads + 5), ("base", reads + 5)):
            assert live.post("/v1/next_token", model=name, prompt="a" * longest).status_code == 200
            error = live.error("/v1/next_token", model=name, prompt="a" * (longest + 1))
            assert f"has {longest + 1:,} tokens" in error["message"] and f"{longest:,}" in error["message"]
            assert live.post("/tokenize", prompt="a", model=name).json()["max_model_len"] == longest
            info = live.http.get("/tokenizer_info", params={"model": name}).json()
            assert info["model_max_length"] == longest
        for _ in range(2):
            asked = {"prompt": "a" * 40, "max_tokens": 3, "temperature": 0}
            assert live.post("/v1/completions", model="p", **asked).json()["usage"]["prompt_tokens"] == 40
        counts = live.http.get("/metrics").text
        for line in ("prompt_tokens_total", "request_prompt_tokens_sum", "prefix_cache_queries_total"):
            assert f'lmworks:{line}{{model_name="base"}} 80.0' in counts


def test_echo_alone_goes_with_every_adapter_and_reads_no_log_probabilities(root: Path, tmp_path: Path):
    network, base = lm.load(root / "first").network, str(root / "first")
    adapters = {"x": root / "x", "p": prompt_folder(tmp_path / "p", network, base=base)}
    with running(one(base, Opening(adapters=adapters), name="first")) as live:
        for name in ("first", "x", "p"):
            told = live.post("/v1/completions", model=name, prompt=PROMPT, max_tokens=0, echo=True)
            assert told.status_code == 200, told.text
            [choice] = told.json()["choices"]
            assert (choice["text"], choice["logprobs"], choice["finish_reason"]) == (PROMPT, None, "length")
            assert told.json()["usage"]["completion_tokens"] == 0
            asked = {"model": name, "prompt": PROMPT, "max_tokens": 0, "echo": True}
            chunks = list(live.openai.completions.create(**asked, stream=True))
            assert "".join(one.choices[0].text for one in chunks) == PROMPT
            written = live.post("/v1/completions", model=name, prompt=PROMPT, max_tokens=3, min_tokens=3).json()
            assert written["usage"]["completion_tokens"] == 3  # the engine goes on
        asked = {"model": "p", "prompt": PROMPT, "max_tokens": 0, "echo": True, "logprobs": 1}
        assert "log-probabilities of a prompt" in live.error("/v1/completions", **asked)["message"]


def test_bottlenecks_are_served_compiled_and_streamed_by_their_names(root: Path, tmp_path: Path):
    if unavailable() is not None:
        pytest.skip(str(unavailable()))
    base, network = str(root / "first"), lm.load(root / "first").network
    folders = {
        name: bottleneck_folder(tmp_path / name, network, "houlsby", size=size, seed=size, base=base, activation=kind)
        for name, size, kind in (("wide", 21, "silu"), ("narrow", 5, "relu"))
    } | {"x": root / "x"}
    alone = {name: lm.load(folder, compress="int8") for name, folder in ({"first": root / "first"} | folders).items()}
    assert all(one.runner.name == "compiled" for one in alone.values())
    wanted = {name: one.generate(PROMPT, max_new_tokens=8).text for name, one in alone.items()}
    assert len(set(wanted.values())) == len(wanted)
    with running(one(base, Opening(adapters=folders, compress="int8"), name="first")) as live:
        listed = live.http.get("/v1/models").json()["data"]
        assert {one["id"]: one["about"]["runner"] for one in listed} == dict.fromkeys(wanted, "compiled")

        def streamed(name: str) -> str:
            asked = {"prompt": PROMPT, "max_tokens": 8, "temperature": 0}
            chunks = list(live.openai.completions.create(model=name, stream=True, **asked))
            assert {one.model for one in chunks} == {name}
            return "".join(one.choices[0].text for one in chunks if one.choices)

        names = [*wanted] * 3
        with ThreadPoolExecutor(len(names)) as pool:  # rows of one batch
            assert list(pool.map(streamed, names)) == [wanted[name] for name in names]
        answer = live.post("/v1/completions", prompt="a", model="thin", max_tokens=1)
        assert answer.status_code == 404
        said = "there is no model 'thin'; there is first, x, wide and narrow"
        assert answer.json()["error"]["message"] == said


def test_adapters_of_nf4_are_served_beside_a_rounded_base_which_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(progress, "_said", set())
    base = tmp_path / "base"
    small().save(base)
    network = lm.load(base).network
    folders = {
        name: adapter_folder(tmp_path / name, network, str(base), seed=seed, lmworks_base_values=VALUES)
        for seed, name in enumerate(("p", "q"))
    }
    with pytest.warns(UserWarning, match=r"base is rounded to NF4, .* what names none of them is answered by the"):
        models = one(str(base), Opening(adapters=folders), name="base")
    with running(models) as live:
        listed = live.http.get("/v1/models").json()["data"]
        assert {one["id"]: one["about"]["rounded_to"] for one in listed} == dict.fromkeys(("base", "p", "q"), VALUES)
        for name, folder in folders.items():
            wanted = lm.load(folder).generate(PROMPT, max_new_tokens=8).text
            assert complete(live, name)["choices"][0]["text"] == wanted
        rounded = lm.load(base, grid="nf4").generate(PROMPT, max_new_tokens=8).text
        assert complete(live, "base")["choices"][0]["text"] == rounded
    folders["x"] = adapter_folder(tmp_path / "x", network, str(base))
    with pytest.raises(ConfigError, match=r"p was trained on its base's values in NF4 and .*x on those of the base"):
        one(str(base), Opening(adapters=folders), name="base")


def test_a_name_that_is_none_is_a_404_that_lists_them(live: Live):
    answer = live.post("/v1/completions", prompt="a", model="z", max_tokens=1)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "there is no model 'z'; there is first, x and y/2"


def test_of_several_models_each_adapter_finds_its_base(root: Path):
    first, second = str(root / "first"), str(root / "second")
    adapters = {"z": root / "z", "x": root / "x"}
    models = several([first, second], Opening(adapters=adapters), memory=None, idle=300)
    assert [one.adapters for one in models.all] == [("x",), ("z",)]
    with running(models) as live:
        listed = {one["id"]: (one["parent"], one["loaded"]) for one in live.http.get("/v1/models").json()["data"]}
        assert listed == {first: (None, False), "x": (first, False), second: (None, False), "z": (second, False)}
        text = complete(live, "z")["choices"][0]["text"]
        assert text == lm.load(root / "z").generate(PROMPT, max_new_tokens=8).text
        assert [one.loaded for one in models.all] == [False, True]


def test_an_adapter_of_another_base_is_refused_before_anything_is_served(root: Path, tmp_path: Path):
    first, second = str(root / "first"), str(root / "second")
    other = r"\(the SHA-256 of its base's weights is another\); serve its base, or leave the adapter out"
    with pytest.raises(ModelError, match=rf"z was trained on .*second, and not on .*first {other}"):
        one(first, Opening(adapters={"z": root / "z"}))
    with pytest.raises(ModelError, match=rf"z was trained on .*second, and not on .*first or .*first/ {other}"):
        several([first, f"{first}/"], Opening(adapters={"z": root / "z"}), memory=None, idle=1)
    network = lm.load(root / "first").network
    unnamed = adapter_folder(tmp_path / "peft", network, "org/elsewhere")  # as PEFT writes it: no SHA-256
    with pytest.raises(ModelError, match=r"peft was trained on org/elsewhere, and not on .*first or .*second; serve"):
        several([first, second], Opening(adapters={"p": unnamed}), memory=None, idle=1)
    assert one(first, Opening(adapters={"p": unnamed})).named("p").loaded  # of a single model, by its shapes
    by_name = adapter_folder(tmp_path / "named", network, first)
    models = several([second, first], Opening(adapters={"p": by_name}), memory=None, idle=1)
    assert models.named("p").name == first
    with pytest.raises(ModelError, match="holds no adapter"):
        several([first, second], Opening(adapters={"p": tmp_path}), memory=None, idle=1)
    for name in (first, second):
        with pytest.raises(ConfigError, match="called"):
            several([first, second], Opening(adapters={name: root / "x"}), memory=None, idle=1)


def test_options_say_which_adapters_there_are(tmp_path: Path):
    assert adapters_of(["notes=models/a=b", "code=c"]) == (None, {"notes": Path("models/a=b"), "code": Path("c")})
    assert adapters_of(["models/notes"]) == ("models/notes", {}) and adapters_of([]) == (None, {})
    (tmp_path / "a=b").mkdir()
    assert adapters_of([str(tmp_path / "a=b")]) == (str(tmp_path / "a=b"), {})
    for given, said in (
        (["a=x", "a=y"], "a name that is already taken"),
        (["=x"], "is not NAME=DIR"),
        (["a="], "is not NAME=DIR"),
        (["x", "a=y"], "x has no name, and there are others"),
    ):
        with pytest.raises(ConfigError, match=said):
            adapters_of(given)
