"""Networks of random weights in public shapes, as GGUF files with SmolLM2's tokenizer: what a model of that size costs
to start, to hold and to run, where a real one cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, Any]] = {
    "qwen3-0.6b": {"dim": 1024, "layers": 28, "heads": 16, "kv_heads": 8, "head_dim": 128, "hidden_dim": 3072}
    | {"family": "qwen3", "qk_norm": True, "rope_theta": 1e6, "norm_eps": 1e-6},
    "llama-3b": {"dim": 3072, "layers": 28, "heads": 24, "kv_heads": 8, "hidden_dim": 8192},
    "llama-1b": {"dim": 2048, "layers": 16, "heads": 32, "kv_heads": 8, "hidden_dim": 8192},
    "small": {"dim": 64, "layers": 2, "heads": 4, "kv_heads": 2, "hidden_dim": 96},
}
"""0.49, 2.97 and 1.07 billion weights (the last 656 MB in Q4_0), as SmolLM2's vocabulary is a third or a half of
theirs; and a small one to try things with."""


def named(name: str) -> Path:
    """The file of "llama-1b.q4_k_m"; of "smollm2.q8_0", SmolLM2 itself in that kind."""
    shape, kind = name.rsplit(".", 1)
    return random_gguf(shape, kind) if shape in SHAPES else exported(shape, kind)


def exported(model: str, kind: str) -> Path:
    """A real model in a kind, written once."""
    from lmworks.basics.files import cache_folder
    from lmworks.jobs.export import export

    path = cache_folder("benchmarks") / f"{model}.{kind}.gguf"
    if not path.exists():
        export(model, path, kind=kind)
    return path


def random_gguf(shape: str, kind: str = "q4_0") -> Path:
    """The file, written once; embedding and head have 8 bits in it."""
    from lmworks.basics.files import cache_folder, written_whole

    path = cache_folder("benchmarks") / f"{shape}.{kind}.gguf"
    if not path.exists():
        with written_whole(path) as temporary:
            _write(temporary, shape, kind)
    return path


def _write(path: Path, shape: str, kind: str) -> None:
    import torch

    from lmworks.jobs.export import KINDS
    from lmworks.loading import load_tokenizer
    from lmworks.models.config import ModelConfig
    from lmworks.models.files.gguf_vocabulary_writing import vocabulary_entries
    from lmworks.models.files.gguf_writing import network_entries, network_tensors, write_gguf
    from lmworks.models.network import Network

    tokenizer = load_tokenizer("smollm2")
    config = ModelConfig(vocab_size=tokenizer.vocab_size, context=8192, **{"family": "llama", **SHAPES[shape]})
    with torch.device("meta"):
        shapes = {name: one.shape for name, one in network_tensors(Network(config)).items()}
    draws = 0.02 * torch.randn(max(map(sum, shapes.values())), generator=torch.Generator().manual_seed(0))
    tensors = {
        # Each row begins one number later than the one before it: no two are alike, and the view takes no memory.
        name: draws.as_strided(tuple(size), (1, 1)) if len(size) == 2 else torch.ones(size)
        for name, size in shapes.items()
    }
    entries = network_entries(config) | {"general.name": shape}
    write_gguf(path, entries | vocabulary_entries(tokenizer, config.vocab_size), tensors, KINDS[kind])
