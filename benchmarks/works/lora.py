"""A LoRA step on 4 x 256 tokens of SmolLM2-135M beside PEFT's: rank 8 on all linear layers, AdamW.

Both sides in bfloat16 and in float32: a processor that multiplies no bfloat16 is several times as fast in float32.
PEFT keeps its adapters in float32 on either base.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks.work import Facts, Side, Work, in_transformers, repeated

ROWS, CONTEXT, RANK, TIMES = 4, 256, 8, 4
CLIP, NOISE = 1.0, 0.6
"""Of a private step."""


def step_of_ours(
    dtype: str,
    rows: int = ROWS,
    recompute: bool = False,
    method: str = "lora",
    products: Any = None,
    private: bool = False,
    **settings: Any,
) -> Callable[[], None]:
    """A step by hand-written blocks, as `lmworks build` trains by a method; `recompute` keeps no activations inside of
    a block, `products` is training.frozen_products, `private` clips each row's gradient and adds noise."""
    from lmworks.basics.memory import keep_freed_memory

    keep_freed_memory()
    import torch

    import lmworks as lm
    from lmworks.adaptation.declaration import Chosen, Setup
    from lmworks.adaptation.methods import METHODS
    from lmworks.objectives import CausalLM
    from lmworks.tokens.batch import IGNORE, Batch
    from lmworks.training import rows_apart
    from lmworks.training.by_hand.eight_bits import choose_products, in_eight_bits
    from lmworks.training.by_hand.fused_block import use_fused_blocks
    from lmworks.training.optimiser import trainable
    from lmworks.training.optimisers.adamw import adamw
    from lmworks.training.private.dp_sgd import Private
    from lmworks.training.settings import TrainingConfig
    from lmworks.training.step import accumulate

    model, way = lm.load("smollm2", dtype=dtype), METHODS[method]
    chosen = Chosen(way, way.settings(**settings), stored=model.stored)
    network = chosen.prepare(Setup(model.network, CausalLM(), [])).network
    assert use_fused_blocks(network, recompute)
    network.train()
    kind = {"adapter": True, "compares": False, "few_bits": way.few_bits}
    training = choose_products(TrainingConfig(frozen_products=products), network.config, network.dtype, **kind)
    held = ExitStack()
    if training.frozen_products == "int8":
        held.enter_context(in_eight_bits(network))
    ids = torch.randint(0, 49_152, (rows, CONTEXT))
    labels = torch.cat([ids[:, 1:], torch.full((rows, 1), IGNORE)], dim=1)
    batch = Batch(ids, labels, torch.arange(CONTEXT).expand(rows, -1), torch.zeros_like(ids))
    optimiser, objective = adamw(trainable(network), training), CausalLM()

    apart = rows_apart.go_apart(network, objective, [batch])
    make: Callable[..., object] = rows_apart.gradients if apart else accumulate
    if private:
        dp_sgd = Private(clip=CLIP, noise=NOISE, rows=100 * rows, expected=rows, key=b"a benchmark's")
        make = partial(dp_sgd.gradients, step=1)

    def step() -> None:
        make(network, objective, [batch])
        optimiser.step()
        optimiser.zero_grad()

    step.held = held  # type: ignore[attr-defined]  # for as long as there are steps
    return step


def ours(dtype: str, recompute: bool = False) -> Facts:
    """Tokens a second of it."""
    return repeated(step_of_ours(dtype, recompute=recompute), ROWS * CONTEXT, TIMES)


def step_of_peft(
    dtype: str,
    attention: str = "sdpa",
    checkpointing: bool = False,
    nf4: bool = False,
    private: bool = False,
    **settings: Any,
) -> Callable[[], None]:
    """The same with PEFT and transformers; where it is asked for, on bitsandbytes' NF4 with double quantisation, or
    private by Opacus' hooks."""
    import torch
    from peft import LoraConfig, get_peft_model

    more: dict[str, Any] = {"attn_implementation": attention}
    if nf4:
        from transformers import BitsAndBytesConfig

        more["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, dtype),
        )
    base = in_transformers(dtype, **more)
    base.config.use_cache = False
    lora = LoraConfig(r=RANK, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM", **settings)
    model = get_peft_model(base, lora)
    if checkpointing:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    model.train()
    ids = torch.randint(0, 49_152, (ROWS, CONTEXT))
    optimiser: Any = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-4)
    if private:
        from opacus import GradSampleModule
        from opacus.optimizers import DPOptimizer

        model = GradSampleModule(model)
        optimiser = DPOptimizer(optimiser, noise_multiplier=NOISE, max_grad_norm=CLIP, expected_batch_size=ROWS)

    def step() -> None:
        model(input_ids=ids, labels=ids).loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def peft(dtype: str, attention: str = "sdpa", checkpointing: bool = False) -> Facts:
    """Tokens a second of it."""
    return repeated(step_of_peft(dtype, attention, checkpointing), ROWS * CONTEXT, TIMES)


PEFT_PLAIN = (
    Side("PEFT", "bf16", lambda: peft("bfloat16")),
    Side("PEFT", "fp32", lambda: peft("float32")),
)
PEFT_EAGER = (
    Side("PEFT eager", "bf16", lambda: peft("bfloat16", "eager")),
    Side("PEFT eager", "fp32", lambda: peft("float32", "eager")),
)
PEFT_CHECKPOINTING = (
    Side("PEFT checkpointing", "bf16", lambda: peft("bfloat16", checkpointing=True)),
    Side("PEFT checkpointing", "fp32", lambda: peft("float32", checkpointing=True)),
)

STEP = Work(
    "lora step",
    (
        Side("lmworks", "bf16", lambda: ours("bfloat16")),
        Side("lmworks", "fp32", lambda: ours("float32")),
        *PEFT_PLAIN,
    ),
)
RECOMPUTING = Work(
    "lora recomputing",
    (
        Side("lmworks", "recomputing bf16", lambda: ours("bfloat16", recompute=True)),
        Side("lmworks", "recomputing fp32", lambda: ours("float32", recompute=True)),
        *PEFT_PLAIN,
        *PEFT_CHECKPOINTING,
    ),
)
EAGER = Work("lora eager", (*STEP.sides[:2], *PEFT_EAGER))
