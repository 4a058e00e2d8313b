"""A network of experts in OLMoE's proportions, compiled in 4 bits, beside transformers in bfloat16 and float32.

python -m benchmarks.experts
python -m benchmarks.experts prompt --rounds 5 --layers 4

Random weights, as no real ones are small enough: width 1,024, 64 experts of 512 in each layer, 8 of them for a token; 8
layers are 0.9 billion weights. All stand in one process with one thread each and run in turn; a second is one of
processor time, which others who compute beside change little. The first round is not counted.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.store import Recorder, Timed
from benchmarks.work import token_ids

BEFORE, NEW, PROMPT = 64, 32, 256
SHAPE: dict[str, Any] = {"family": "olmoe", "vocab_size": 50_304, "dim": 1024, "heads": 16, "hidden_dim": 512}
SHAPE |= {"context": 4096, "tied": False, "qk_norm": True, "qk_norm_over": "row"}
EXPERTS: dict[str, Any] = {"count": 64, "top_k": 8, "normalised": False}


def network(layers: int) -> Any:
    """Random weights in bfloat16."""
    import torch

    from lmworks.models.config import ExpertSettings, ModelConfig
    from lmworks.models.network import Network

    with torch.device("meta"):
        made = Network(ModelConfig(**SHAPE, layers=layers, experts=ExpertSettings(**EXPERTS))).to(torch.bfloat16)
    made = made.to_empty(device="cpu").requires_grad_(False).eval()
    draws = (0.02 * torch.randn(1 << 26, generator=torch.Generator().manual_seed(0))).to(torch.bfloat16)
    for number, (name, weight) in enumerate(made.named_parameters()):
        # Each begins at another number: no two are alike.
        begin = 8191 * number % (len(draws) - weight.numel())
        weight.copy_(torch.ones_like(weight) if "norm" in name else draws[begin:][: weight.numel()].view_as(weight))
    return made


class Ours:
    """The compiled path."""

    program, format = "lmworks", "4 bits"

    def __init__(self, made: Any) -> None:
        from lmworks.kernels import CompiledRunner

        self.runner = CompiledRunner(made, 4)
        self.clear()

    def clear(self) -> None:
        """Forget the text."""
        self.cache = self.runner.new_cache(1)

    def read(self, tokens: list[int]) -> int:
        """Read more of the text; the likeliest next token."""
        import numpy as np

        return int(self.runner.next_logits(np.array([tokens]), self.cache)[0].argmax())


class Transformers:
    """The same weights in bfloat16, or as float32."""

    program = "transformers"

    def __init__(self, folder: Path, format: str) -> None:
        self.format, self.model = format, theirs("AutoModelForCausalLM", folder, format)
        self.clear()

    def clear(self) -> None:
        """Forget the text."""
        self.past: Any = None

    def read(self, tokens: list[int]) -> int:
        """Read more of the text; the likeliest next token."""
        import torch

        made = self.model(torch.tensor([tokens]), past_key_values=self.past, use_cache=True, logits_to_keep=1)
        self.past = made.past_key_values
        return int(made.logits[0, -1].argmax())


def theirs(kind: str, folder: Path, format: str) -> Any:
    """A network of transformers, by the name of the class that loads it."""
    import torch
    import transformers

    dtype = torch.bfloat16 if format == "bf16" else torch.float32
    return getattr(transformers, kind).from_pretrained(folder, dtype=dtype).eval()


def stream(program: Any) -> float:
    """Tokens a second of NEW steps."""
    program.clear()
    token = program.read(token_ids(BEFORE))
    start = time.process_time()
    for _ in range(NEW):
        token = program.read([token])
    return NEW / (time.process_time() - start)


def prompt(program: Any) -> float:
    """Tokens a second of PROMPT tokens."""
    program.clear()
    start = time.process_time()
    program.read(token_ids(PROMPT))
    return PROMPT / (time.process_time() - start)


TESTS: dict[str, Callable[[Any], float]] = {"one stream": stream, f"prompt of {PROMPT}": prompt}


def in_turn(test: Callable[[Any], float], programs: Iterable[Any], rounds: int) -> list[Timed]:
    """Every program in turn, round after round."""
    rates: dict[Any, list[float]] = {one: [] for one in programs}
    for round_ in range(rounds + 1):
        for one, found in rates.items():
            rate = test(one)
            if round_:
                found.append(rate)
    return [Timed(one.program, found, one.format) for one, found in rates.items()]


def main() -> None:
    """Every test that begins with what is asked for."""
    import torch

    from lmworks.models.files.directory import write_network

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", help=f"beginnings of: {'; '.join(TESTS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=8)
    options = parser.parse_args()
    os.environ["LMWORKS_THREADS"] = "1"
    torch.set_num_threads(1)
    with torch.inference_mode(False), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        made = network(options.layers)
        write_network(Path(folder), made)
        programs = [Ours(made), *(Transformers(Path(folder), one) for one in ("bf16", "fp32"))]
    recorder = Recorder()
    for name, test in TESTS.items():
        if not options.tests or name.startswith(tuple(options.tests)):
            with torch.no_grad():
                timed = in_turn(test, programs, options.rounds)
            recorder.keep(f"experts, {options.layers} layers of 1,024, {name}, processor time", "tokens/s", timed)


if __name__ == "__main__":
    main()
