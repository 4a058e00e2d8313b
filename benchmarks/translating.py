"""An encoder-decoder in Marian's proportions, compiled in 8 bits, beside transformers in bfloat16 and float32.

python -m benchmarks.translating
python -m benchmarks.translating "greedy, 8" --rounds 5

Random weights, as no real ones were at hand: those of the opus-mt models, 6 and 6 layers of 512, 58,101 tokens, 75
million weights. Sources of 32 tokens, targets of 32. All stand in one process with one thread each and run in turn; a
second is one of processor time, which others who compute beside change little. The first round is not counted. What is
counted are the tokens of the targets that come out, not those of the beams that are dropped.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.experts import in_turn, theirs
from benchmarks.store import Recorder
from benchmarks.work import token_ids

SOURCE, TARGET, VOCABULARY = 32, 32, 58_101
SHAPE: dict[str, Any] = {"family": "marian", "arrangement": "encoder-decoder", "vocab_size": VOCABULARY, "dim": 512}
SHAPE |= {"layers": 6, "encoder_layers": 6, "heads": 8, "hidden_dim": 2048, "context": 512, "activation": "silu"}
SHAPE |= {"positions": "sinusoidal", "norm": "layer", "norm_place": "after", "gated": False, "scale_embedding": True}
SHAPE |= {"qkv_bias": True, "output_bias": True, "feed_forward_bias": True, "head_bias": True, "dropout": 0.1}
WORKS = {f"{how}, {rows} at once": (beams, rows) for how, beams in (("greedy", 1), ("4 beams", 4)) for rows in (1, 8)}


def network() -> Any:
    """Random weights in float32."""
    from lmworks.models.config import ModelConfig
    from lmworks.models.network import Network

    return Network(ModelConfig(**SHAPE)).initialise(0).requires_grad_(False).eval()


def sources(rows: int) -> list[list[int]]:
    """Texts of SOURCE tokens."""
    ids = token_ids(rows * SOURCE)
    return [[one % VOCABULARY for one in ids[at : at + SOURCE]] for at in range(0, len(ids), SOURCE)]


def words() -> Any:
    """A vocabulary of bytes and made-up words."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers

    from lmworks.tokens.vocabulary import Vocabulary

    known = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(f"\u0120w{one}" for one in range(256, VOCABULARY))]
    backend = Backend(models.BPE(vocab={word: number for number, word in enumerate(known)}, merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    return Vocabulary(backend, name="words", bos=None, eos=None, pad=VOCABULARY - 1, chat_template=None)


class Ours:
    """The compiled path."""

    program, format = "lmworks", "8 bits"

    def __init__(self, made: Any) -> None:
        from lmworks.language_model import LanguageModel
        from lmworks.tokens.tokenizer import Tokenizer

        self.model = LanguageModel(made, Tokenizer(words()))
        self.model.choose_runner("int8")

    def write(self, texts: list[list[int]], beams: int) -> int:
        """TARGET tokens for each source; how many there are."""
        from lmworks.generation.strategies import Beam, Greedy

        how = Greedy() if beams == 1 else Beam(width=beams)
        answers = self.model.generate_batch(texts, how, max_new_tokens=TARGET)
        return sum(len(one.tokens) for one in answers)


class Transformers:
    """The same weights in bfloat16, or as float32."""

    program = "transformers"

    def __init__(self, folder: Path, format: str) -> None:
        self.format, self.model = format, theirs("AutoModelForSeq2SeqLM", folder, format)

    def write(self, texts: list[list[int]], beams: int) -> int:
        """TARGET tokens for each source; how many there are."""
        import torch

        given, pad = torch.tensor(texts), VOCABULARY - 1
        length = {"min_new_tokens": TARGET, "max_new_tokens": TARGET, "num_beams": beams, "do_sample": False}
        special = {"decoder_start_token_id": pad, "pad_token_id": pad, "eos_token_id": 0, "forced_eos_token_id": None}
        made = self.model.generate(given, attention_mask=torch.ones_like(given), **length, **special)
        return made[:, 1:].numel()


def tokens_a_second(beams: int, rows: int) -> Any:
    """Of targets that are written."""

    def test(program: Any) -> float:
        start = time.process_time()
        count = program.write(sources(rows), beams)
        assert count == rows * TARGET, (program.program, count)
        return count / (time.process_time() - start)

    return test


def main() -> None:
    """Every work that begins with what is asked for."""
    import torch

    from lmworks.models.files.directory import write_network

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", help=f"beginnings of: {'; '.join(WORKS)}")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    os.environ["LMWORKS_THREADS"] = "1"
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        made = network()
        write_network(Path(folder), made)
        programs = [Ours(made), *(Transformers(Path(folder), one) for one in ("bf16", "fp32"))]
    recorder = Recorder()
    for name, (beams, rows) in WORKS.items():
        if not options.works or name.startswith(tuple(options.works)):
            with torch.no_grad():
                timed = in_turn(tokens_a_second(beams, rows), programs, options.rounds)
            recorder.keep(f"translating, Marian's proportions, {name}, processor time", "tokens/s", timed)


if __name__ == "__main__":
    main()
