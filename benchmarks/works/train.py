"""A training step from nothing, ours and transformers', AdamW.

Llama-shaped, 6 layers x 384, vocabulary 4,096, 16 x 256 tokens. Ours with its blocks compiled and without, in bfloat16
with float32 masters and in float32; transformers in bfloat16 by autocast and in float32.
"""

from __future__ import annotations

from benchmarks.work import Facts, Side, Work, repeated

ROWS, CONTEXT, VOCAB, DIM, LAYERS, HEADS, HIDDEN = 16, 256, 4096, 384, 6, 6, 1024


def train_ours(dtype: str, compile_blocks: bool) -> Facts:
    """Whole steps of the training loop's own parts: objective, clipping, optimiser with float32 masters."""
    from lmworks.basics.memory import keep_freed_memory

    keep_freed_memory()
    import torch

    from lmworks.models.config import ModelConfig
    from lmworks.models.network import Network
    from lmworks.objectives import CausalLM
    from lmworks.tokens.batch import Batch
    from lmworks.training.blocks import fast_blocks
    from lmworks.training.optimiser import make_optimiser
    from lmworks.training.settings import TrainingConfig
    from lmworks.training.step import take_step

    shape = {"dim": DIM, "layers": LAYERS, "heads": HEADS, "hidden_dim": HIDDEN, "context": CONTEXT}
    network = Network(ModelConfig(vocab_size=VOCAB, **shape)).initialise(0).to(getattr(torch, dtype)).train()
    ids = torch.randint(0, VOCAB, (ROWS, CONTEXT + 1))
    batch = Batch(ids[:, :-1], ids[:, 1:], torch.arange(CONTEXT).expand(ROWS, -1), torch.zeros_like(ids[:, 1:]))
    config = TrainingConfig(compile=compile_blocks)
    optimiser, objective = make_optimiser(network, config), CausalLM()

    def step() -> None:
        take_step(network, objective, [batch], optimiser, 1.0, config.clip)

    with fast_blocks(network, config, step):
        return repeated(step, ROWS * CONTEXT, times=4)


def train_transformers(autocast: bool) -> Facts:
    """The same with transformers' Llama: float32, or bfloat16 by autocast."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=DIM,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=HIDDEN,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).train()
    ids = torch.randint(0, VOCAB, (ROWS, CONTEXT))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return repeated(step, ROWS * CONTEXT, times=4)


TRAIN = Work(
    "train step",
    (
        Side("lmworks", "bf16 compiled", lambda: train_ours("bfloat16", True)),
        Side("lmworks", "fp32 compiled", lambda: train_ours("float32", True)),
        Side("lmworks without compiler", "bf16", lambda: train_ours("bfloat16", False)),
        Side("lmworks without compiler", "fp32", lambda: train_ours("float32", False)),
        Side("transformers", "bf16 autocast", lambda: train_transformers(True)),
        Side("transformers", "fp32", lambda: train_transformers(False)),
    ),
)
