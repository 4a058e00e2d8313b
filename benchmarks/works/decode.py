"""SmolLM2-135M beside transformers: 128 tokens written after a prompt of 128, and a prompt of 512 tokens.

The compiled path computes with the file's 4-bit weights; everybody else has the same weights in 16 or 32 bits.
"""

from __future__ import annotations

from benchmarks.work import Facts, Side, Work, in_transformers, repeated, token_ids

PROMPT, NEW, PREFILL = 128, 128, 512


def decode_ours(compress: str | None = None, dtype: str | None = None) -> Facts:
    """Through the whole program: strategy, stream and all."""
    import lmworks as lm

    model = lm.load("smollm2", compress=compress, dtype=dtype)
    model.tokenizer.__dict__["stop_ids"] = frozenset()  # every repetition writes the same number of tokens
    return repeated(lambda: model.generate(token_ids(PROMPT), max_new_tokens=NEW), NEW)


def decode_transformers(dtype: str) -> Facts:
    """The same with transformers' generate."""
    import torch

    model, ids = in_transformers(dtype), torch.tensor([token_ids(PROMPT)])
    return repeated(
        lambda: model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False
        ),
        NEW,
    )


def prefill_ours(compress: str | None = None, dtype: str | None = None) -> Facts:
    """To the logits after the last token of the prompt."""
    import torch

    import lmworks as lm

    runner = lm.load("smollm2", compress=compress, dtype=dtype).runner
    ids = torch.tensor([token_ids(PREFILL)])

    @torch.inference_mode()
    def work() -> object:
        return runner.next_logits(ids, runner.new_cache(1, PREFILL))

    return repeated(work, PREFILL)


def prefill_transformers(dtype: str) -> Facts:
    """The same with transformers."""
    import torch

    model, ids = in_transformers(dtype), torch.tensor([token_ids(PREFILL)])

    @torch.inference_mode()
    def work() -> object:
        return model(ids, use_cache=True, logits_to_keep=1)

    return repeated(work, PREFILL)


DECODE_PEERS = (
    Side("transformers", "bf16", lambda: decode_transformers("bfloat16")),
    Side("transformers", "fp32", lambda: decode_transformers("float32")),
)
PREFILL_PEERS = (
    Side("transformers", "bf16", lambda: prefill_transformers("bfloat16")),
    Side("transformers", "fp32", lambda: prefill_transformers("float32")),
)

DECODE = Work("decode, compiled", (Side("lmworks", "4 bits", decode_ours), *DECODE_PEERS))
DECODE_PYTORCH = Work(
    "decode, PyTorch",
    (
        Side("lmworks", "bf16", lambda: decode_ours(dtype="bfloat16")),
        Side("lmworks", "fp32", lambda: decode_ours(dtype="float32")),
        *DECODE_PEERS,
    ),
)
PREFILL_COMPILED = Work("prefill, compiled", (Side("lmworks", "4 bits", prefill_ours), *PREFILL_PEERS))
PREFILL_PYTORCH = Work(
    "prefill, PyTorch",
    (
        Side("lmworks", "bf16", lambda: prefill_ours(dtype="bfloat16")),
        Side("lmworks", "fp32", lambda: prefill_ours(dtype="float32")),
        *PREFILL_PEERS,
    ),
)
