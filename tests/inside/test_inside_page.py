"""The handbook's page on looking inside runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import torch

PAGE = Path(__file__).parents[2] / "docs" / "inside.md"


def test_the_examples_run_in_their_order_and_give_what_they_say(smollm2_path):
    seen: dict = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(code, seen)
    network, tokens = seen["network"], seen["tokens"]
    dim, seq = network.config.dim, tokens.shape[1]
    assert torch.equal(seen["logits"], network(tokens)) and not torch.equal(seen["edited"], seen["logits"])
    assert seen["pattern"].shape == (1, network.config.heads, seq, seq)
    assert seen["layer"].name == "norm" and seen["layer"].norm > 0
    assert seen["at"]["blocks.3.residual_out"].abs().max() > 0 and seen["matrix"].shape == (dim, dim)
    torch.testing.assert_close(seen["to_input"], seen["span"].vjp(seen["change"]), rtol=1e-3, atol=1e-4)
    assert len(seen["by_block"]) == 3
    assert seen["found"].pieces[3] == " France" and seen["found"].ranking()[0] == 3
    assert seen["said"].shape == (network.config.layers + 1, 1, network.config.vocab_size)
    assert float(seen["carried"][0, 3]) > 0.99 and float(seen["carried"][-1, 3].abs()) < 0.5
    assert seen["worth"] > 1
