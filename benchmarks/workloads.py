"""One workload a function, ours and the peer's side by side; each runs in a process of its own and returns facts.

Same weights (SmolLM2-135M, dequantised), same shapes, same threads. `rate` is tokens a second, the median of several
repetitions after a warm-up.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import beams, embedding, experts, shards, training
from benchmarks.head import trained

PROMPT, NEW, PREFILL = 128, 128, 512
ROWS, CONTEXT, RANK = 4, 256, 8


def directory() -> Path:
    """The model as a Hugging Face directory, which the peers read."""
    import lmworks as lm
    from lmworks.basics.files import cache_folder

    folder = cache_folder("benchmarks") / "smollm2"
    if not folder.exists():
        lm.load("smollm2", compress="none").save(folder)
    return folder


def peer(dtype: str) -> Any:
    """The model in transformers."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(directory(), dtype=getattr(torch, dtype)).eval()


def repeated(work: Callable[[], object], tokens: int, times: int = 5) -> dict[str, float]:
    """Tokens a second: the median and the best of several repetitions after one that is not counted."""
    work()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return {"rate": tokens / statistics.median(seconds), "best": tokens / min(seconds)}


def prompt() -> list[int]:
    """The same tokens for everybody."""
    import torch

    return torch.randint(100, 40_000, (PROMPT,), generator=torch.Generator().manual_seed(0)).tolist()


def decode_ours(compress: str | None = None) -> dict[str, float]:
    """128 tokens behind a prompt of 128, through the whole program: strategy, stream and all."""
    import lmworks as lm

    model = lm.load("smollm2", compress=compress)
    model.tokenizer.__dict__["stop_ids"] = frozenset()  # every repetition writes the same number of tokens
    return repeated(lambda: model.generate(prompt(), max_new_tokens=NEW), NEW)


def decode_transformers(dtype: str) -> dict[str, float]:
    """The same with transformers' generate."""
    import torch

    model, ids = peer(dtype), torch.tensor([prompt()])
    return repeated(
        lambda: model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False
        ),
        NEW,
    )


def prefill_ours(compress: str | None = None) -> dict[str, float]:
    """A prompt of 512 tokens, to the logits behind its last."""
    import torch

    import lmworks as lm

    network = lm.load("smollm2", compress=compress).network
    ids = torch.randint(100, 40_000, (1, PREFILL))

    @torch.inference_mode()
    def work() -> object:
        return network.logits(network.hidden(ids, cache=network.new_cache(1, PREFILL))[:, -1])

    return repeated(work, PREFILL)


def prefill_transformers(dtype: str) -> dict[str, float]:
    """The same with transformers."""
    import torch

    model, ids = peer(dtype), torch.randint(100, 40_000, (1, PREFILL))

    @torch.inference_mode()
    def work() -> object:
        return model(ids, use_cache=True, logits_to_keep=1)

    return repeated(work, PREFILL)


def lora_ours(recompute: bool) -> dict[str, float]:
    """A LoRA step on 4 x 256 tokens: rank 8 on all linear layers, AdamW, bfloat16."""
    from lmworks.basics.memory import keep_freed_memory

    keep_freed_memory()
    import torch

    import lmworks as lm
    from lmworks.adaptation.lora import LoRAConfig, add_lora
    from lmworks.objectives import CausalLM
    from lmworks.tokens.batch import IGNORE, Batch
    from lmworks.training.by_hand.fused_block import use_fused_blocks
    from lmworks.training.optimiser import adamw, trainable
    from lmworks.training.settings import TrainingConfig

    network = add_lora(lm.load("smollm2", dtype="bfloat16").network, LoRAConfig(rank=RANK))
    assert use_fused_blocks(network, recompute)
    network.train()
    ids = torch.randint(0, 49_152, (ROWS, CONTEXT))
    labels = torch.cat([ids[:, 1:], torch.full((ROWS, 1), IGNORE)], dim=1)
    batch = Batch(ids, labels, torch.arange(CONTEXT).expand(ROWS, -1), torch.zeros_like(ids))
    optimiser, objective = adamw(trainable(network), TrainingConfig()), CausalLM()

    def step() -> None:
        objective(network, batch).mean.backward()
        optimiser.step()
        optimiser.zero_grad()

    return repeated(step, ROWS * CONTEXT)


def lora_peft(attention: str, checkpointing: bool) -> dict[str, float]:
    """The same with PEFT and transformers, adapters in float32 on a bfloat16 base."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(directory(), dtype=torch.bfloat16, attn_implementation=attention)
    base.config.use_cache = False
    model = get_peft_model(base, LoraConfig(r=RANK, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    if checkpointing:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    model.train()
    ids = torch.randint(0, 49_152, (ROWS, CONTEXT))
    optimiser = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-4)

    def step() -> None:
        model(input_ids=ids, labels=ids).loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return repeated(step, ROWS * CONTEXT)


def first_token_ours() -> dict[str, float]:
    """Seconds from a cold process to the first token; the process itself is timed by the caller."""
    import lmworks as lm

    next(lm.load("smollm2").stream("The capital of France is", max_new_tokens=1), None)
    return {}


def nothing() -> dict[str, float]:
    """`import lmworks` alone."""
    import lmworks  # noqa: F401

    return {}


WORKLOADS: dict[str, Callable[[], dict[str, float]]] = {
    "decode/lmworks": decode_ours,
    "decode/lmworks bf16": lambda: decode_ours("none"),
    "decode/transformers bf16": lambda: decode_transformers("bfloat16"),
    "decode/transformers fp32": lambda: decode_transformers("float32"),
    "prefill/lmworks": prefill_ours,
    "prefill/lmworks bf16": lambda: prefill_ours("none"),
    "prefill/transformers bf16": lambda: prefill_transformers("bfloat16"),
    "prefill/transformers fp32": lambda: prefill_transformers("float32"),
    "lora/lmworks": lambda: lora_ours(recompute=False),
    "lora/lmworks recompute": lambda: lora_ours(recompute=True),
    "lora/peft sdpa": lambda: lora_peft("sdpa", checkpointing=False),
    "lora/peft eager": lambda: lora_peft("eager", checkpointing=False),
    "lora/peft sdpa checkpointing": lambda: lora_peft("sdpa", checkpointing=True),
    "head/lmworks adaptive": lambda: trained("adaptive"),
    "head/lmworks full, untied": lambda: trained("untied"),
    "head/lmworks full, tied": lambda: trained("tied"),
    **embedding.WORKLOADS,
    **experts.WORKLOADS,
    **beams.WORKLOADS,
    **shards.WORKLOADS,
    **training.WORKLOADS,
    "start/first token": first_token_ours,
    "start/import lmworks": nothing,
}
