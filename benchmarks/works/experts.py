"""A mixture of experts (2 of 8, each half as wide) beside a dense feed-forward with as many operations a token.

One layer alone (nothing of the network hides what routing costs), on 2,048 tokens and on one; a peer is transformers'
Mixtral.
"""

from __future__ import annotations

from benchmarks.work import Facts, Side, Work, repeated

DIM, HIDDEN, EXPERTS, TOP_K, TOKENS = 512, 2048, 8, 2, 2048


def layer(kind: str, dtype: str, tokens: int, backward: bool = False) -> Facts:
    """Tokens a second through one layer, forward alone or with its gradients."""
    import torch

    made = (_theirs() if kind == "transformers" else _ours(kind == "experts")).to(getattr(torch, dtype))
    made = made.requires_grad_(backward).train(backward)
    x = torch.randn(1, tokens, DIM, dtype=getattr(torch, dtype), requires_grad=backward)

    def once() -> None:
        out = made(x)
        if backward:
            out.sum().backward()

    times = 200 if tokens == 1 else 2

    def work() -> None:
        for _ in range(times):
            once()

    with torch.set_grad_enabled(backward):
        return repeated(work, tokens * times, times=9)


def _ours(routed: bool):
    import torch

    from lmworks.models.config import ModelConfig
    from lmworks.models.experts import Experts
    from lmworks.models.feed_forward import FeedForward

    shape = {"vocab_size": 8, "dim": DIM, "layers": 1, "heads": 8, "context": 8, "hidden_dim": HIDDEN}
    experts = {"count": EXPERTS, "top_k": TOP_K, "hidden_dim": HIDDEN // TOP_K} if routed else None
    torch.manual_seed(0)
    config = ModelConfig(**shape, experts=experts)
    return Experts(config) if routed else FeedForward(config)


def _theirs():
    import torch
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

    config = MixtralConfig(
        hidden_size=DIM, intermediate_size=HIDDEN // TOP_K, num_local_experts=EXPERTS, num_experts_per_tok=TOP_K
    )
    config._experts_implementation = "eager"
    made = MixtralSparseMoeBlock(config)
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.02)
    return made


def sides(kind: str, name: str) -> tuple[Side, ...]:
    """One kind of layer in both formats; only "with gradients" goes backward, only "one token" has one."""
    tokens, backward = 1 if name == "one token" else TOKENS, name == "with gradients"
    return tuple(
        Side(PROGRAMS[kind], label, lambda dtype=dtype: layer(kind, dtype, tokens, backward))
        for label, dtype in (("bf16", "bfloat16"), ("fp32", "float32"))
    )


PROGRAMS = {"experts": "lmworks", "dense": "lmworks dense", "transformers": "transformers"}


def work(name: str) -> Work:
    """Ours beside a dense layer of as many operations, and beside transformers' experts."""
    return Work(f"experts, {name}", tuple(side for kind in PROGRAMS for side in sides(kind, name)))


FORWARD = work("forward")
WITH_GRADIENTS = work("with gradients")
ONE_TOKEN = work("one token")
