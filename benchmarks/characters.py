"""tinyshakespeare by character: nanoGPT's CPU config, and `shakespeare-char` in the seconds that it trained for.

    python -m benchmarks.characters --seeds 3

The peer is nanoGPT's model and loop with its README's settings for a CPU, written with torch.nn in float32: 4 layers,
4 heads, 128 wide, 64 characters, 12 rows, 2,000 steps; it never stops to validate, which spares it seconds. Both are
trained on the first nine tenths and judged on all of the last.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.store import Recorder, Timed
from lmworks.text.sources import read

LAYERS, HEADS, DIM, CONTEXT, ROWS, STEPS = 4, 4, 128, 64, 12, 2000
WARMUP, RATE, LEAST = 100, 1e-3, 1e-4


class Peer(nn.Module):
    """GPT-2's network without biases and dropout."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(characters, DIM), nn.Embedding(CONTEXT, DIM)
        layer = nn.TransformerEncoderLayer(
            DIM, HEADS, 4 * DIM, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, bias=False
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(DIM, bias=False)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(CONTEXT))
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                last = name.endswith(("out_proj.weight", "linear2.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * LAYERS) if last else 0.02)

    def forward(self, rows: Tensor) -> Tensor:
        """Logits of the character after each one."""
        x = self.tokens(rows) + self.places.weight
        return F.linear(self.norm(self.layers(x, mask=self.mask, is_causal=True)), self.tokens.weight)


def loss_of(network: Peer, rows: Tensor) -> Tensor:
    """Nats a character of rows of CONTEXT + 1."""
    return F.cross_entropy(network(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())


def train_peer(seed: int) -> tuple[float, float]:
    """Seconds of training, and nats a character of the last tenth."""
    torch.manual_seed(seed)
    text = "\n\n".join(document.text for document in read("tinyshakespeare").documents)
    number = {one: at for at, one in enumerate(sorted(set(text)))}
    ids = torch.tensor([number[one] for one in text])
    cut = int(0.9 * len(ids))
    train, held_out = ids[:cut], ids[cut:]
    network = Peer(len(number))
    matrices = [weight for weight in network.parameters() if weight.dim() == 2]
    others = [weight for weight in network.parameters() if weight.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.99))
    start = time.perf_counter()
    for step in range(STEPS):
        falling = LEAST + 0.5 * (RATE - LEAST) * (1 + math.cos(math.pi * max(step - WARMUP, 0) / (STEPS - WARMUP)))
        for group in optimiser.param_groups:
            group["lr"] = min(RATE * (step + 1) / (WARMUP + 1), falling)
        places = torch.randint(len(train) - CONTEXT, (ROWS, 1)) + torch.arange(CONTEXT + 1)
        loss = loss_of(network, train[places])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
    seconds = time.perf_counter() - start
    windows = held_out[: (len(held_out) - 1) // CONTEXT * CONTEXT + 1].unfold(0, CONTEXT + 1, CONTEXT)
    with torch.no_grad():
        return seconds, fmean(loss_of(network, part).item() for part in windows.split(100))


def train_ours(seconds: float, seed: int) -> dict[str, float]:
    """What `lmworks train` says of its run."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [f"training.max_seconds={seconds:.1f}", f"training.seed={seed}"]
        command = [sys.executable, "-m", "lmworks", "train", "shakespeare-char", "--json", "--out", f"{folder}/model"]
        for one in settings:
            command += ["--set", one]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(folder))
    return json.loads(done.stdout)


def main() -> None:
    """The peer once, ours with each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    options, recorder = parser.parse_args(), Recorder()
    seconds, loss = train_peer(seed=1337)
    losses = [train_ours(seconds, seed)["validation_loss"] for seed in range(options.seeds)]
    peer = Timed("nanoGPT's CPU config", [loss], facts={"seconds": round(seconds, 1)})
    recorder.keep("tinyshakespeare by character", "nats/character", [Timed("shakespeare-char", losses), peer])


if __name__ == "__main__":
    main()
