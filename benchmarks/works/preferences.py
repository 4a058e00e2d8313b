"""A step of DPO on 8 pairs of answers with SmolLM2-135M beside TRL's: LoRA of rank 8, AdamW, the reference computed
before.

TRL pads each conversation to the longest of the batch; here pairs are packed into rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from benchmarks.work import Facts, Side, Work, data, in_transformers, repeated, smollm2_folder

PAIRS, RANK, TIMES = 8, 8, 4
CONTEXT = 1280
"""The pairs fill one row of ours."""


def records() -> list[dict[str, Any]]:
    """Pairs of the published file, from its beginning, in TRL's layout of conversations."""
    found = json.loads(data("instructions/instruction-data-with-preference.json").read_text(encoding="utf-8"))
    made = []
    for one in found[:PAIRS]:
        asked = "\n\n".join(part for part in (one["instruction"], one["input"]) if part)
        answers = {name: [{"role": "assistant", "content": one[name]}] for name in ("chosen", "rejected")}
        made.append({"prompt": [{"role": "user", "content": asked}], **answers})
    return made


def step_of_ours(dtype: str) -> Callable[[], None]:
    """A step as `lmworks prefer` makes it."""
    from lmworks.basics.memory import keep_freed_memory

    keep_freed_memory()
    import lmworks as lm
    from lmworks.adaptation.lora import LoRAConfig, add_lora
    from lmworks.adaptation.reference import references
    from lmworks.objectives.preference import Preference
    from lmworks.objectives.preferences.dpo import DPO, DPOSettings
    from lmworks.text.records import document
    from lmworks.tokens.answer_pairs import pack_pairs, pair_of, with_references
    from lmworks.tokens.batch import stack
    from lmworks.training.by_hand.fused_block import use_fused_blocks
    from lmworks.training.optimiser import trainable
    from lmworks.training.optimisers.adamw import adamw
    from lmworks.training.settings import TrainingConfig

    model = lm.load("smollm2", dtype=dtype)
    network = add_lora(model.network, LoRAConfig(rank=RANK))
    rows = pack_pairs([pair_of(document(one, "a pair"), model.tokenizer, CONTEXT) for one in records()], CONTEXT)
    config = TrainingConfig(context=CONTEXT, rows=len(rows))
    batch = stack(with_references(rows, references(network, rows, config)))
    assert use_fused_blocks(network)
    network.train()
    optimiser, objective = adamw(trainable(network), config), Preference(DPO, DPOSettings())

    def step() -> None:
        objective(network, batch).mean.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def step_of_trl(dtype: str) -> Callable[[], None]:
    """The same by TRL's trainer, whose batch and loss are taken from it."""
    import tempfile
    import uuid

    import datasets
    import torch
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    datasets.fingerprint.Hasher.hash = lambda *given: uuid.uuid4().hex  # the keys of its caches
    settings = DPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=PAIRS,
        precompute_ref_log_probs=True,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
    )
    trainer = DPOTrainer(
        model=in_transformers(dtype),
        args=settings,
        train_dataset=datasets.Dataset.from_list(records()),
        processing_class=AutoTokenizer.from_pretrained(smollm2_folder()),
        peft_config=LoraConfig(r=RANK, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    batch = next(iter(trainer.get_train_dataloader()))
    model = trainer.model.train()
    optimiser = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-4)

    def step() -> None:
        trainer.compute_loss(model, batch).backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def _timed(step: Callable[[str], Callable[[], None]], dtype: str) -> Callable[[], Facts]:
    return lambda: repeated(step(dtype), PAIRS, TIMES)


STEP = Work(
    "dpo step",
    (
        Side("lmworks", "bf16", _timed(step_of_ours, "bfloat16")),
        Side("lmworks", "fp32", _timed(step_of_ours, "float32")),
        Side("TRL", "bf16", _timed(step_of_trl, "bfloat16")),
        Side("TRL", "fp32", _timed(step_of_trl, "float32")),
    ),
    unit="pairs/s",
)
