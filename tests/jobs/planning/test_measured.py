"""Planned memory beside that of real processes, as the operating system counts it, with glibc's heap: within a tenth.

What the process holds before (Python, PyTorch, the libraries' tables) is subtracted on both sides. The holes of the
heap were fitted to the runs of FAST, SLOW, OTHER and FOLLOWED; METHODS_OF_BUILD are runs that the fit has not seen.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmworks.adaptation.declaration import Chosen
from lmworks.adaptation.lora import LoRAConfig
from lmworks.adaptation.methods import METHODS
from lmworks.adaptation.retention import RETENTIONS
from lmworks.jobs.planning.adapting import method_memory
from lmworks.jobs.planning.heap import PROCESS, in_a_process
from lmworks.jobs.planning.memory import Formats, serving_memory, training_memory
from lmworks.jobs.planning.ways import every_method, name_of
from lmworks.jobs.planning.workload import usual_objective
from lmworks.models.config import ModelConfig
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_groups import StoredInGGUF
from lmworks.objectives.declaration import ObjectiveSettings
from lmworks.training.settings import TrainingConfig

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="the memory of a process is read from /proc, which Linux has"
)
LLAMA = {"vocab_size": 8192, "dim": 512, "layers": 8, "heads": 8, "kv_heads": 4, "hidden_dim": 1408, "context": 512}
CHARACTERS = {"vocab_size": 65, "dim": 256, "layers": 6, "heads": 4, "hidden_dim": 1024, "context": 256}
GPT2 = {
    "family": "gpt2",
    "positions": "learned",
    "norm": "layer",
    "gated": False,
    "activation": "gelu_tanh",
    "qkv_bias": True,
    "output_bias": True,
    "feed_forward_bias": True,
}
FAST = {
    "from nothing, float32": ("full", LLAMA, {"context": 256, "rows": 4}, "float32"),
    "from nothing, bfloat16": ("full", LLAMA, {"context": 256, "rows": 4}, "bfloat16"),
    "adapters in fused blocks, bfloat16": ("lora", LLAMA, {"context": 256, "rows": 16}, "bfloat16"),
    "characters, recomputing": ("full", CHARACTERS, {"context": 256, "rows": 24, "recompute": True}, "float32"),
}
SLOW = {
    "adapters, recomputing, float32": (
        "lora",
        LLAMA | {"norm_eps": 1e-6},
        {"context": 256, "rows": 16, "recompute": True},
        "float32",
    ),
    "generation": ("generate", LLAMA | {"context": 2048}, {"context": 1024, "rows": 4}, "float32"),
    "from nothing, recomputing, bfloat16": ("full", LLAMA, {"context": 512, "rows": 8, "recompute": True}, "bfloat16"),
    "several micro-batches": ("full", LLAMA, {"context": 256, "rows": 4, "accumulate": 2}, "float32"),
    "gpt2": ("full", GPT2 | {**LLAMA, "kv_heads": 8}, {"context": 256, "rows": 8}, "float32"),
    "gpt2, adapters": ("lora", GPT2 | {**LLAMA, "kv_heads": 8}, {"context": 256, "rows": 8}, "float32"),
    "gpt2, adapters, bfloat16": ("lora", GPT2 | {**LLAMA, "kv_heads": 8}, {"context": 256, "rows": 8}, "bfloat16"),
    "dropout": ("full", CHARACTERS | {"dropout": 0.2}, {"context": 256, "rows": 8}, "float32"),
    "muon": ("full", LLAMA, {"context": 256, "rows": 2, "optimiser": "muon"}, "float32"),
    "muon, bfloat16": ("full", LLAMA, {"context": 256, "rows": 2, "optimiser": "muon"}, "bfloat16"),
    "few tokens, float32": ("full", LLAMA, {"context": 64, "rows": 1}, "float32"),
    "few tokens, bfloat16": ("full", LLAMA, {"context": 64, "rows": 1}, "bfloat16"),
    "a large vocabulary": (
        "full",
        LLAMA | {"vocab_size": 50_000, "dim": 256, "layers": 2},
        {"context": 256, "rows": 4},
        "float32",
    ),
    "adapters in fused blocks, float32": ("lora", LLAMA, {"context": 256, "rows": 8}, "float32"),
    "adapters, recomputing, bfloat16": ("lora", LLAMA, {"context": 512, "rows": 8, "recompute": True}, "bfloat16"),
    "generation, bfloat16": ("generate", LLAMA | {"context": 2048}, {"context": 1024, "rows": 4}, "bfloat16"),
}
WIDE = {"vocab_size": 2000, "dim": 640, "layers": 4, "heads": 10, "kv_heads": 2, "hidden_dim": 1728, "context": 1024}
DEEP = {"vocab_size": 16_000, "dim": 384, "layers": 14, "heads": 6, "kv_heads": 6, "hidden_dim": 1024, "context": 1024}
OTHER = {
    "wide, float32": ("full", WIDE, {"context": 128, "rows": 16}, "float32"),
    "deep, bfloat16": ("full", DEEP, {"context": 384, "rows": 6}, "bfloat16"),
    "deep, recomputing, float32": ("full", DEEP, {"context": 640, "rows": 2, "recompute": True}, "float32"),
    "wide, muon, bfloat16": ("full", WIDE, {"context": 512, "rows": 4, "optimiser": "muon"}, "bfloat16"),
    "gpt2, bfloat16": ("full", GPT2 | {**DEEP, "layers": 6}, {"context": 384, "rows": 6}, "bfloat16"),
    "adapters of rank 32, bfloat16": ("lora", DEEP | {"rank": 32}, {"context": 384, "rows": 6}, "bfloat16"),
    "adapters of rank 2, float32": ("lora", WIDE | {"rank": 2}, {"context": 128, "rows": 24}, "float32"),
    "adapters of rank 16, recomputing, bfloat16": (
        "lora",
        DEEP | {"rank": 16},
        {"context": 256, "rows": 12, "recompute": True},
        "bfloat16",
    ),
    "wide, adapters, recomputing, float32": (
        "lora",
        WIDE | {"rank": 4},
        {"context": 1024, "rows": 2, "recompute": True},
        "float32",
    ),
    "deep, generation, bfloat16": ("generate", DEEP, {"context": 768, "rows": 6}, "bfloat16"),
    "wide, generation, float32": ("generate", WIDE, {"context": 512, "rows": 8}, "float32"),
}

OBJECTIVES = ObjectiveSettings.parts()
BERT, MBART, T5 = (
    {
        "arrangement": OBJECTIVES[kind].arrangement,
        **OBJECTIVES[kind].network,
        "vocab_size": 8192,
        "heads": 8,
        "dim": 512,
        "context": 256,
    }
    for kind in ("masked", "seq2seq", "spans")
)
FOLLOWED = {
    "masked, float32": (
        "masked",
        BERT | {"layers": 6, "hidden_dim": 2048},
        {"context": 256, "rows": 8},
        "float32",
    ),
    "masked, dropout, bfloat16": (
        "masked",
        BERT | {"dim": 384, "heads": 6, "layers": 8, "dropout": 0.1},
        {"context": 128, "rows": 24},
        "bfloat16",
    ),
    "masked, muon, bfloat16": (
        "masked",
        BERT | {"vocab_size": 4096, "layers": 8},
        {"context": 128, "rows": 16, "optimiser": "muon"},
        "bfloat16",
    ),
    "translation, bfloat16": (
        "seq2seq",
        MBART | {"dim": 384, "heads": 6, "layers": 4, "encoder_layers": 6},
        {"context": 128, "rows": 24},
        "bfloat16",
    ),
    "translation, recomputing, bfloat16": (
        "seq2seq",
        MBART | {"layers": 6, "encoder_layers": 6},
        {"context": 256, "rows": 16, "recompute": True},
        "bfloat16",
    ),
    "spans, float32": (
        "spans",
        T5 | {"layers": 6, "encoder_layers": 6, "hidden_dim": 1024},
        {"context": 256, "rows": 16},
        "float32",
    ),
}
"""Encoders and encoder-decoders."""


SMOLLM2 = {
    **{"vocab_size": 49_152, "dim": 576, "layers": 30, "heads": 9, "kv_heads": 3, "hidden_dim": 1536},
    **{"context": 512, "norm_eps": 1e-5},
}
SHORT = {"context": 128, "rows": 2}
KINDS_OF_METHODS = {name_of(one): one for one in every_method(Chosen(METHODS["lora"], METHODS["lora"].settings()))}
"""As plans show them: a method that declares itself is measured, too."""
METHODS_OF_BUILD: dict[str, tuple[Chosen, str, int]] = {
    **{name: (one, "nothing", 1) for name, one in KINDS_OF_METHODS.items()},
    "full, kl": (KINDS_OF_METHODS["full"], "kl", 1),
    "lora, kl": (KINDS_OF_METHODS["lora"], "kl", 1),
    "prompt, four texts in a row": (KINDS_OF_METHODS["prompt"], "nothing", 4),
}
"""SmolLM2's shape, two rows of 128 tokens: what `lmworks plan` says of each method, beside a process. A trained prompt
stands before each text of a row, so that it matters how many there are."""


def planned(way: str, model: dict[str, Any], training: dict[str, Any], dtype: str) -> float:
    """Bytes of tensors and holes."""
    rank = model.get("rank", 8)
    config = ModelConfig(**{key: value for key, value in model.items() if key != "rank"})
    settings, lora = TrainingConfig(**training), LoRAConfig(rank=rank) if way == "lora" else None
    if way in OBJECTIVES:
        objective = ObjectiveSettings(kind=way)
        memory = training_memory(config, settings, Formats.of(dtype), objective=objective)
    elif way == "generate":
        memory = serving_memory(config, Formats.of(dtype), settings.rows, settings.context)
    else:
        memory = training_memory(config, settings, Formats.of(dtype, adapters=lora is not None), lora=lora)
    return in_a_process(memory).peak - PROCESS


def measured(way: str, model: dict[str, Any], training: dict[str, Any], dtype: str, **more: Any) -> float:
    rank = model.get("rank", 8)
    shape = {key: value for key, value in model.items() if key != "rank"}
    task = {"way": way, "model": shape, "training": training, "dtype": dtype, "rank": rank}
    task |= ({"objective": way} if way in OBJECTIVES else {}) | more
    here = Path(__file__)
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(map(str, here.parents[2:4])),  # this tree's lmworks, whatever is installed
    }
    command = [sys.executable, str(here.with_name("measure.py")), json.dumps(task)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return float(ran.stdout.split()[0])


def check(case: tuple[str, dict[str, Any], dict[str, Any], str]) -> None:
    plan, real = planned(*case), measured(*case)
    print(f"planned {plan / 1e6:,.0f} MB, measured {real / 1e6:,.0f} MB: {plan / real - 1:+.1%}")
    assert plan == pytest.approx(real, rel=0.10)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAST)
def test_a_run_takes_the_planned_memory(name: str):
    check(FAST[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_more_runs_take_the_planned_memory(name: str):
    check(SLOW[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHER)
def test_runs_of_other_shapes_take_the_planned_memory(name: str):
    check(OTHER[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLLOWED)
def test_runs_of_encoders_and_encoder_decoders_take_the_planned_memory(name: str):
    check(FOLLOWED[name])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", METHODS_OF_BUILD)
def test_every_method_takes_the_planned_memory(name: str, dtype: str, smollm2_path: Path):
    one, retain, documents = METHODS_OF_BUILD[name]
    config, retention = ModelConfig(**SMOLLM2), RETENTIONS[retain]
    stored = StoredInGGUF(GGUFFile(smollm2_path), config)
    chosen = replace(one, retention=retention, kept_by=retention.settings(), stored=stored)
    training, objective = TrainingConfig(**SHORT), usual_objective(config)
    plan = in_a_process(method_memory(config, training, dtype, chosen, objective=objective, documents=documents)).peak
    plan -= PROCESS
    settings = one.settings.model_dump()
    more = {"file": str(smollm2_path)} if settings.get("grid") == "file" else {}
    more |= {"settings": settings, "retain": retain, "documents": documents}
    real = measured(one.method.name, SMOLLM2, SHORT, dtype, **more)
    print(f"{name}, {dtype}: planned {plan / 1e6:,.0f} MB, measured {real / 1e6:,.0f} MB: {plan / real - 1:+.1%}")
    assert plan == pytest.approx(real, rel=0.10)
