"""How far the compiled path and llama.cpp are from float32 with the same weights: SmolLM2 in each kind of file.

python -m benchmarks.agreement                 # Q4_0, Q4_K_M, Q5_K_M, Q6_K, Q8_0
python -m benchmarks.agreement q5_k_m --tokens 8192

The mean over tokens of WikiText-2 of KL(float32, program), in nats, on texts of 512 tokens (`LMWORKS_DATA` names the
folder above `wikitext2/`). float32 is PyTorch with the weights that the file's blocks stand for. No time is measured,
so a busy machine does no harm.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.programs import LlamaCpp
from benchmarks.shapes import named
from benchmarks.store import Recorder, Timed

KINDS = ("q4_0", "q4_k_m", "q5_k_m", "q6_k", "q8_0")
SIZE = 512


def texts(tokenizer: Any, count: int) -> list[list[int]]:
    """Pieces of WikiText-2, one after another."""
    from lmworks.text.sources import read

    ids: list[int] = []
    for document in read("wikitext2").documents:
        ids += tokenizer.encode(document.text, special=False)
        if len(ids) >= count:
            break
    return [ids[start : start + SIZE] for start in range(0, count, SIZE)]


def agreement(kind: str, tokens: int) -> list[Timed]:
    """Both programs' mean divergence."""
    import torch

    import lmworks as lm

    path = named(f"smollm2.{kind}")
    exact, ours = lm.load(path, dtype="float32", compress="none"), lm.load(path)
    peer = LlamaCpp("llama.cpp", path, 2, window=1024)
    sums = {"lmworks": 0.0, "llama.cpp": 0.0}
    with torch.inference_mode():
        for ids in texts(exact.tokenizer, tokens):
            size = exact.network.config.vocab_size
            wanted = exact.network(torch.tensor([ids]))[0, :, :size].log_softmax(-1)
            found = {"lmworks": ours.logits(torch.tensor([ids]))[0], "llama.cpp": peer.logits(ids)}
            for name, logits in found.items():
                beside = logits.float()[:, :size].log_softmax(-1)
                sums[name] += float((wanted.exp() * (wanted - beside)).sum(-1).double().sum())
    return [Timed(name, [total / tokens], kind.upper()) for name, total in sums.items()]


def main() -> None:
    """Measure each kind, and store it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=KINDS)
    parser.add_argument("--tokens", type=int, default=4096)
    options = parser.parse_args()
    recorder = Recorder()
    for kind in options.kinds:
        recorder.keep(f"agreement with float32, SmolLM2 {kind.upper()}", "nats", agreement(kind, options.tokens))


if __name__ == "__main__":
    main()
