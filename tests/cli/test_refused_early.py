"""What can be seen to be wrong without weights or texts is refused before they are read.

The models here have a sound config.json and damaged weights, and the text is nowhere: whoever reads either says so.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny

BOTH_WAYS = {"family": "lmworks", "arrangement": "encoder-decoder", "positions": "relative"}
EARLY = {
    "an unknown attribution": (("explain-answer", "DECODER", "Hi", "--method", "shap"), "there is no way 'shap'"),
    "an answer of nothing": (("explain-answer", "DECODER", "Hi", "--answer", ""), "--answer is empty"),
    "nothing instead": (("explain-answer", "DECODER", "Hi", "--instead", ""), "--instead is empty"),
    "nothing corrupt": (("explain-answer", "DECODER", "Hi", "--corrupt", ""), "--corrupt is empty"),
    "a probe of nothing": (("probe", "DECODER", "nowhere", "--units", "0"), "a probe of 0 numbers"),
    "springs without weights": (
        ("tune", "DECODER", "--data", "nowhere", "--method", "bottleneck", "--retain", "ewc"),
        "bottleneck moves none of these, so that there is nothing to hold",
    ),
    "springs without weights, by build": (
        ("build", "nowhere", "--model", "DECODER", "--set", "method=prompt", "--set", "retain=ewc"),
        "prompt moves none of these, so that there is nothing to hold",
    ),
    "a router without an adapter": (
        ("tune", "DECODER", "--data", "nowhere", "--method", "full", "--retain", "router"),
        "this method changes the base's own weights",
    ),
    "more last layers than there are": (
        ("tune", "DECODER", "--data", "nowhere", "--method", "last_layers", "--set", "last_layers.layers=40"),
        "last_layers.layers is 40, and the network has 2 blocks",
    ),
    "a rank that no matrix has": (
        ("tune", "DECODER", "--data", "nowhere", "--set", "lora.rank=4000"),
        "lora.rank is 4,000, and no update of a matrix",
    ),
    "pairs with a rank that no matrix has": (
        ("prefer", "DECODER", "--data", "nowhere", "--set", "lora.rank=4000"),
        "lora.rank is 4,000, and no update of a matrix",
    ),
    "a target that the model has not": (
        ("tune", "DECODER", "--data", "nowhere", "--method", "qlora", "--set", 'qlora.targets=["wheel"]'),
        "qlora.targets: this model has no projection wheel",
    ),
    "a student deeper than its teacher": (
        ("distill", "DECODER", "--data", "nowhere", "--layers", "40"),
        "student.layers is 40, and the teacher has 2",
    ),
    "a student wider than its teacher": (
        ("distill", "DECODER", "--data", "nowhere", "--set", "student.hidden_dim=4000"),
        "student.hidden_dim is 4000, and the teacher's is 48",
    ),
    "vectors of no dimensions": (
        ("compress", "ENCODER", "--text", "nowhere", "--dimensions", "0"),
        "dimensions is 0; give at least 1",
    ),
    "a text to round by that is not there": (
        ("export", "DECODER", "--type", "q4_k_m", "--text", "nowhere"),
        "nowhere does not exist",
    ),
    "a text to merge by that is not there": (
        ("merge", "DECODER", "--base", "DECODER", "--text", "nowhere"),
        "nowhere does not exist",
    ),
    "a window of one token": (("evaluate", "DECODER", "nowhere", "--window", "1"), "the window is 1 tokens"),
    "no tokens to measure on": (("evaluate", "DECODER", "nowhere", "--tokens", "0"), "tokens is 0"),
    "an unknown figure": (("evaluate", "BOTH", "nowhere", "--figure", "meteor"), "'meteor'"),
    "no beams to measure by": (("evaluate", "BOTH", "nowhere", "--beams", "0"), "--beams is 0"),
    "three bits to measure in": (("evaluate", "DECODER", "nowhere", "--compress", "int3"), "compress is 'int3'"),
    "a prompt's file that is not there": (("evaluate", "DECODER", "nowhere", "--prompt", "no.toml"), "no.toml"),
    "three bits to serve in": (("serve", "DECODER", "--port", "0", "--compress", "int3"), "compress is 'int3'"),
    "an embedder that is not there": (
        ("serve", "DECODER", "--port", "0", "--embedder", "nowhere"),
        "nowhere is neither a known model nor a path",
    ),
    "no token to write": (("generate", "DECODER", "Hi", "--max-new-tokens", "0"), "max_new_tokens is 0"),
    "no token to say": (("chat", "DECODER", "--max-new-tokens", "0"), "max_new_tokens is 0"),
    "an expression that is none": (("generate", "DECODER", "Hi", "--regex", "("), "the regular expression"),
    "a schema of no type": (("generate", "DECODER", "Hi", "--schema", '{"type": "poem"}'), "the JSON schema"),
    "the best of none": (("draw", "DECODER", "a cat", "--best-of", "0"), "best_of is 0"),
    "the best by nobody": (("draw", "DECODER", "a cat", "--best-of", "2"), "best_of is 2"),
    "a judge that is not there": (
        ("draw", "DECODER", "a cat", "--best-of", "2", "--judge", "nowhere"),
        "nowhere is neither a known model nor a path",
    ),
    "a cold caption": (("draw", "DECODER", "a cat", "--temperature", "-1"), "temperature is -1"),
    "a caption to flee from": (("draw", "DECODER", "a cat", "--guidance", "-1"), "guidance is -1"),
    "an adapter of a name that is not there": (
        ("evaluate", "DECODER", "nowhere", "--adapter", "notes=nothing"),
        "nothing holds no adapter",
    ),
    "a prompt of no order": (
        ("prompt", "search", "CLASSES", "--model", "DECODER", "--orders", "0"),
        "orders is 0; give at least 1",
    ),
    "a prompt for more texts than there are": (
        ("prompt", "search", "CLASSES", "--model", "DECODER", "--test", "1000000"),
        "give 1 or more of each, and fewer in all",
    ),
    "members of which there are no others": (
        ("privacy", "DECODER", "--members", "TEXT", "--non-members", "nowhere"),
        "nowhere does not exist",
    ),
    "images to embed that are not there": (("embed", "IMAGES", "nowhere", "--out", "made"), "nowhere does not exist"),
    "no images to embed": (("embed", "IMAGES", "EMPTY", "--out", "made"), "holds none that can be read"),
    "texts to embed that are not there": (("embed", "ENCODER", "nowhere", "--out", "made"), "nowhere does not exist"),
    "no texts to embed": (("embed", "ENCODER", "EMPTY", "--out", "made"), "is an empty folder"),
    "images to embed as texts": (("embed", "ENCODER", "PICTURES", "--out", "made"), "give a model that reads images"),
    "an image to classify that is not there": (
        ("classify", "IMAGES", "nowhere.png", "--label", "a cat"),
        "'nowhere.png' cannot be read as an image (No such file",
    ),
    "images to classify of which none is there": (
        ("classify", "IMAGES", "nowhere.png", "EMPTY", "--label", "a cat"),
        "2 of 2 could not be read, as said above",
    ),
    "an image to classify that is empty": (
        ("classify", "IMAGES", "NOTHING", "--label", "a cat"),
        "cannot be read as an image: an empty file",
    ),
    "an image to continue from that is not there": (
        ("generate", "DECODER", "Hi", "--image", "nowhere.png"),
        "'nowhere.png' cannot be read as an image (No such file",
    ),
    "an image to continue from that is empty": (
        ("generate", "DECODER", "--image", "NOTHING"),
        "cannot be read as an image: an empty file",
    ),
    "questions that are not there": (("report", "DECODER", "--questions", "nowhere.csv"), "nowhere.csv"),
}


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Models by the names above, of which everything but the weights can be read, and a text that none is to read."""
    root = tmp_path_factory.mktemp("damaged")
    tiny.language_model(seed=4, context=512).save(root / "DECODER")
    tiny.language_model(seed=4, context=512, **BOTH_WAYS).save(root / "BOTH")
    tiny.embedder(root / "ENCODER")
    tiny.clip(root / "IMAGES")
    for weights in root.glob("*/*.safetensors"):
        weights.write_bytes(b"damaged!")
    for folder in ("TEXT", "EMPTY", "PICTURES"):
        (root / folder).mkdir()
    (root / "PICTURES" / "one.png").write_bytes(b"damaged!")
    (root / "NOTHING.png").write_bytes(b"")
    (root / "TEXT" / "one.txt").write_text("A text.")
    classes = [{"prompt": f"text {number}", "response": ("good", "bad")[number % 2]} for number in range(300)]
    (root / "CLASSES").with_suffix(".jsonl").write_text("".join(json.dumps(one) + "\n" for one in classes))
    return {path.stem: str(path) for path in root.iterdir()}


@pytest.mark.parametrize("mistake", EARLY)
def test_it_is_refused_before_weights_and_texts_are_read(
    run, mistake: str, damaged: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    said, sentence = EARLY[mistake]
    ran = run(*(damaged.get(word, word) for word in said))
    assert sentence in ran.err and ran.code == 1
    assert "is damaged" not in ran.err and "reading" not in ran.err
    assert not [*tmp_path.iterdir()]
