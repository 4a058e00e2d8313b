"""The page on which every family stands with what can be done with it, made from the declarations alone.

python -m lmworks.jobs.families > docs/models.md
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from lmworks.basics.errors import LmworksError
from lmworks.kernels.coverage import unknown
from lmworks.models.config import ModelConfig
from lmworks.models.families import FAMILIES
from lmworks.models.families.gguf import TENSORS_OF
from lmworks.models.families.tables import Family
from lmworks.models.files.gguf_writing import exported_config
from lmworks.models.hearing.config import hears
from lmworks.models.vision.config import ImageConfig, reads_images
from lmworks.models.vision.resnet_config import ResNetConfig
from lmworks.models.vision.towers_config import TowersConfig
from lmworks.objectives.declaration import ObjectiveSettings

HEADS, HEAD_DIM = 32, 64
SIZES = {"vocab_size": 32_000, "layers": 24, "head_dim": HEAD_DIM, "hidden_dim": 8192, "context": 2048}
"""Of a network whose family has none of its own."""
ARRANGEMENTS = ("decoder", "encoder", "encoder-decoder")
HEAD = """# Models

Every architecture that is known, by the `model_type` of config.json. `python -m lmworks.jobs.families > docs/models.md`
writes this page from the declarations (lmworks/models/families); a test fails where they differ.

Those of texts load from a directory in Hugging Face's layout, equal to transformers, and are written as one it loads;
all train, and take adapters. **By hand**: training takes the hand-written blocks, which are faster than autograd.
**Compiled**: on a CPU, a network of usual sizes runs on the compiled path ([fast.md](fast.md)); what is refused runs in
PyTorch, for the reason given. **GGUF**: such a file is read, and written (`lmworks export`), where llama.cpp has the
architecture and it is mapped here. Read are the vocabularies of all of them: byte-level BPE, SentencePiece's BPE and
unigram model, WordPiece. Written are byte-level BPE and SentencePiece's BPE where llama.cpp gives the same ids; what
that leaves out, as Mistral 7B v0.3's tokenizer.json, [smaller.md](smaller.md) says. Files of DeepSeek from before they
said an `expert_group_count` choose among all experts, as llama.cpp does with them, where the model was trained to
choose within groups (V3, R1, V2-236B); one of V2 that says groups is refused. V2 is written in 26 or 27 layers (Lite),
by which llama.cpp knows that queries come from no narrow state. Layers that guess further tokens (GLM-4.5) are left
out. A gpt-oss file without a chat template, as Ollama's own, is asked in OpenAI's harmony format for its final answer
at once, without thoughts before it.
"""
OWN = """
## Left out, and why

- **mamba, mamba2, falcon_mamba, jamba, bamba, rwkv**: what such a layer keeps of a text is one state of all that it has
  read. The cache here keeps something for each token, so that a text can be cut back, joined with another, padded or
  begun from a kept prefix; a single state can do none of these, and the block would have to be a different one.
- **qwen3_next, qwen3_5, kimi_linear**: three of four layers keep a state likewise (the gated delta rule).

Their config.json is refused in one sentence, which names the nearest architecture that is known where one has a like
name, and the kinds that there are where none has.

`lmworks` is our own architecture and takes every choice of `lmworks explain model`; `lmworks-recurrent` is an LSTM,
`lmworks-convolutional` a classifier of images, `lmworks-efficientnet` EfficientNet-Lite (`lmworks models`),
`lmworks-towers` a CLIP of other parts than a CLIP's, `lmworks-image-tokens` what writes an image as tokens.
[extending.md](extending.md) adds a family.
"""


IMAGES = """## Images

They load, and are written, likewise (`lm.load`, `lmworks classify`), and run in PyTorch: [seeing.md](seeing.md). ResNet
and ViT are read from files with torchvision's names too, and written as such (`lmworks export --to torchvision`).

| model_type | such as | reads |
|---|---|---|"""
SOUND = """## Sound

They load, and are written, likewise (`lm.load`, `lmworks transcribe`): [hearing.md](hearing.md).

| model_type | such as | by hand | compiled | GGUF |
|---|---|---|---|---|"""
READS: dict[type, str] = {
    ImageConfig: "images, as patches",
    TowersConfig: "images and texts, each by a tower of its own",
    ResNetConfig: "images, by convolutions",
}


def public() -> list[Family]:
    """The families of other people's models."""
    return [family for name, family in FAMILIES.items() if not name.startswith("lmworks")]


def typical(family: Family) -> ModelConfig:
    """A network of a family as its config.json says it where that says only what it must, and what is `usual`."""
    heads = family.defaults.get(family.settings.get("kv_heads", ""), HEADS)
    sizes: dict[str, Any] = SIZES | {"heads": heads, "kv_heads": heads, "dim": heads * HEAD_DIM}
    known = {their_key: sizes[ours] for ours, their_key in family.settings.items() if ours in sizes}
    known = {key: value for key, value in known.items() if key not in family.defaults}
    return family.config_from({**known, **family.usual})


def page() -> str:
    """The page as Markdown."""
    return "\n".join([HEAD, *_tables(), OWN.strip("\n"), ""])


def _tables() -> Iterator[str]:
    every = sorted(((typical(one), one) for one in public()), key=lambda pair: pair[1].name)
    families = [pair for pair in every if type(pair[0]) is ModelConfig]
    for arrangement in ARRANGEMENTS:
        kinds = [kind.name for kind in ObjectiveSettings.parts().values() if kind.arrangement == arrangement]
        yield f"## {arrangement.capitalize()}s\n"
        yield f"Objectives: {', '.join(kinds)}.\n"
        yield "| model_type | such as | by hand | compiled | GGUF |"
        yield "|---|---|---|---|---|"
        for config, family in families:
            if config.arrangement == arrangement:
                yield f"| {family.name} | {' | '.join(_cells(config, family))} |"
        yield ""
    yield IMAGES
    for config, family in every:
        if reads_images(config):
            yield f"| {family.name} | {', '.join(family.examples)} | {READS[type(config)]} |"
    yield ""
    yield SOUND
    for config, family in every:
        if hears(config):
            yield f"| {family.name} | {' | '.join(_cells(config, family))} |"
    yield ""


def _cells(config: ModelConfig, family: Family) -> tuple[str, str, str, str]:
    reason = unknown(config)
    compiled = "yes" if reason is None else f"no: it {reason.removeprefix('the compiled path ')}"
    return ", ".join(family.examples), "yes" if config.is_classic_decoder else "", compiled, _gguf(config)


def _gguf(config: ModelConfig) -> str:
    """What can be done with GGUF files."""
    done = ["read"] if config.family in TENSORS_OF else []
    for tried in (
        config,
        config.but(window=None, window_layers=None, window_theta=None),
    ):  # a file may leave out the window
        with contextlib.suppress(LmworksError):
            exported_config(tried)
            return ", ".join([*done, "written"])
    return ", ".join(done)


if __name__ == "__main__":
    print(page(), end="")
