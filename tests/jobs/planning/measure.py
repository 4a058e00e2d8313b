"""What a run really takes: memory of this process, by the operating system, with the heap that the verbs have.

test_measured starts it in a process of its own:

    python measure.py '{"way": "full", "model": {...}, "training": {...}, "dtype": "float32"}'

prints the bytes that the run took beyond what the process had when it began. A small run goes first, so that libraries
and their tables are there already. Of making the network, and of its packing in few bits, only what is left counts.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tiny
import torch

from lmworks.adaptation.declaration import Chosen, Setup
from lmworks.adaptation.lora import LoRAConfig, add_lora
from lmworks.adaptation.methods import METHODS
from lmworks.adaptation.retention import RETENTIONS
from lmworks.basics.memory import begin_peak, keep_freed_memory, peak_megabytes
from lmworks.jobs.planning.workload import made_up
from lmworks.kernels.between import kernels_for
from lmworks.language_model import LanguageModel
from lmworks.models.config import ModelConfig
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_groups import StoredInGGUF
from lmworks.models.network import Network
from lmworks.models.precision import dtype_of
from lmworks.objectives import CausalLM, Objective
from lmworks.objectives.declaration import ObjectiveSettings
from lmworks.tokens.batch import Batch, Example
from lmworks.tokens.rows import Rows
from lmworks.training.loop import train
from lmworks.training.settings import TrainingConfig


class MadeUp(Rows):
    """Rows of an objective other than going on with a text, all full."""

    def __init__(self, config: ModelConfig, objective: ObjectiveSettings, training: TrainingConfig) -> None:
        self.made_of, self.context = (config, objective), training.context
        self.objective, _ = made_up(*self.made_of, 1, self.context)
        self.rows = 3 * training.rows * training.accumulate

    def __len__(self) -> int:
        return self.rows

    def batch(self, places: Sequence[int]) -> Batch:
        """As many rows as places."""
        return made_up(*self.made_of, len(places), self.context)[1]


def run(task: dict[str, Any]) -> None:
    """Train three steps, or generate, as `build`, `train` and `generate` do."""
    config, settings = ModelConfig(**task["model"]), TrainingConfig(steps=3, **task["training"])
    network = Network(config).initialise().to(dtype_of(task["dtype"]))
    if task["way"] == "generate":
        network = network.eval().requires_grad_(False)
        model = LanguageModel(network, tiny.byte_tokenizer())
        prompts = tiny.text(settings.rows, settings.context - 16).tolist()
        begin_peak()
        model.generate_batch(prompts, max_new_tokens=16)
        return
    made: Objective = CausalLM()
    if task["way"] == "lora" and "retain" not in task:
        add_lora(network, LoRAConfig(rank=task.get("rank", 8)))
    elif task["way"] in METHODS and "retain" in task:
        setup = chosen_of(task, config).prepare(Setup(network, made, []))
        made = chosen_of(task, config).retain(setup).objective
    if "objective" in task:
        objective = ObjectiveSettings(kind=task["objective"])
        rows = MadeUp(config, objective, settings)
        begin_peak()
        with tempfile.TemporaryDirectory() as folder:
            train(network, rows.objective, rows, settings, Path(folder))
        return
    texts = tiny.text(3 * settings.rows * settings.accumulate, settings.context, config.vocab_size).tolist()
    size = settings.context // task.get("documents", 1)
    rows = [
        tuple(
            Example(text[start : start + size], [False] + [True] * (size - 1), "random")
            for start in range(0, settings.context, size)
        )
        for text in texts
    ]
    begin_peak()
    with tempfile.TemporaryDirectory() as folder:
        train(network, made, rows, settings, Path(folder))


def chosen_of(task: dict[str, Any], config: ModelConfig) -> Chosen:
    """The method and what keeps old skills; a GGUF file's grid where the task names the file."""
    stored = StoredInGGUF(GGUFFile(Path(task["file"])), config) if "file" in task else None
    method, retention = METHODS[task["way"]], RETENTIONS[task["retain"]]
    return Chosen(method, method.settings(**task.get("settings", {})), retention, retention.settings(), stored)


def resident() -> float:
    """Bytes that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096.0


def main() -> None:
    task = json.loads(sys.argv[1])
    if task["way"] != "generate":
        keep_freed_memory()
    small = {"layers": 1, "dim": 64, "heads": 2, "kv_heads": 1, "hidden_dim": 64, "head_dim": 32, "vocab_size": 259}
    if "encoder_layers" in task["model"]:
        small["encoder_layers"] = 1
    if task["way"] == "last_layers":
        small["layers"] = 2  # as many as are trained
    if task["way"] == "bottleneck":
        small["dim"] = 128  # wider than the bottleneck
    if task["model"].get("norm") == "layer":
        small["kv_heads"] = 2
    model = {key: value for key, value in task["model"].items() if key not in ("window_layers", "ngrams")}
    small_task = {key: value for key, value in task.items() if key != "file"}
    small_task |= {"settings": {}} if "file" in task else {}
    run(small_task | {"model": model | small, "training": task["training"] | {"context": 64, "rows": 2}})
    kernels_for(torch.zeros(1024, 64, dtype=dtype_of(task["dtype"])))  # loaded once, and part of the process
    begin_peak()
    before = resident()
    run(task)
    print(peak_megabytes() * 1e6 - before, torch.get_num_threads())


if __name__ == "__main__":
    main()
