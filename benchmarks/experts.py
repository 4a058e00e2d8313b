"""A mixture of experts beside a dense feed-forward that does as many operations a token: 2 of 8 experts, each half as wide.

One layer alone (nothing of the network hides what routing costs), on 2,048 tokens and on one; a peer is transformers' Mixtral.
"""

from __future__ import annotations

from collections.abc import Callable

DIM, HIDDEN, EXPERTS, TOP_K, TOKENS = 512, 2048, 8, 2, 2048


def layer(kind: str, dtype: str, tokens: int, backward: bool = False) -> dict[str, float]:
    """Tokens a second through one layer, forward alone or with its gradients."""
    import torch

    from benchmarks.workloads import repeated

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


WORKLOADS: dict[str, Callable[[], dict[str, float]]] = {
    f"experts/{name} {kind} {dtype}": lambda kind=kind, dtype=dtype, name=name: layer(
        kind, dtype, 1 if name == "one token" else TOKENS, name == "with gradients"
    )
    for name in ("forward", "with gradients", "one token")
    for dtype in ("float32", "bfloat16")
    for kind in ("dense", "experts", "transformers")
}
