"""Text to packed shards: ours, nanoGPT's prepare.py, `datasets.map` with transformers' tokenizer; GPT-2's vocabulary.

The documents are those of `head.py` (12 MB of prose, no copies; `python -m benchmarks shards`), or the files of the
folder LMWORKS_BENCHMARK_TEXT. All three write the same ids, so MB/s is tokens/s times the bytes a token; it is stored
as `megabytes`. nanoGPT's prepare.py: tiktoken's `encode_ordinary` in `datasets.map` on all cores, then 1,024 shards
concatenated into one memmap. Its own tiktoken downloads the vocabulary; here it is built from the same merges. Needs
tiktoken and datasets.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.work import Facts, Side, Work, data

PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
END = 50_256
CORES = os.cpu_count() or 1


def texts() -> list[str]:
    """Documents without a blank one."""
    from benchmarks.works.head import documents

    folder = os.environ.get("LMWORKS_BENCHMARK_TEXT")
    files = sorted(Path(folder).iterdir()) if folder else []
    found = [path.read_text(encoding="utf-8") for path in files] if folder else documents()
    return [text for text in found if text.strip()]


@contextmanager
def gpt2() -> Iterator[Path]:
    """GPT-2's tokenizer as a folder, inside a scratch folder."""
    from lmworks.tokens.tokenizer import Tokenizer

    source = data("gpt2_bpe")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "gpt2"
        folder.mkdir()
        for name in ("vocab.json", "merges.txt"):
            shutil.copyfile(source / f"gpt2_{name}", folder / name)
        Tokenizer.load(folder).save(folder)
        yield folder


def facts(seconds: float, tokens: int, documents: list[str]) -> Facts:
    """Tokens and megabytes of text a second."""
    size = sum(len(text.encode()) for text in documents)
    return {"value": tokens / seconds, "megabytes": round(size / seconds / 1e6, 2)}


def ours() -> Facts:
    """`write_shards`, to files that are flushed and in place."""
    from lmworks.text.document import Document
    from lmworks.tokens.shards import write_shards
    from lmworks.tokens.tokenizer import Tokenizer

    documents = texts()
    with gpt2() as folder:
        tokenizer, started = Tokenizer.load(folder), time.perf_counter()
        shards = write_shards((Document(text, "") for text in documents), tokenizer, folder.parent / "packed")
        return facts(time.perf_counter() - started, shards.tokens - 2 * len(shards), documents)


def nanogpt(write: bool = True) -> Facts:
    """As prepare.py of nanoGPT's openwebtext does; without its second half where not `write`."""
    import datasets
    import numpy as np
    import tiktoken

    from lmworks.tokens.tokenizer import _byte_level_alphabet

    datasets.disable_progress_bars()
    documents = texts()
    with gpt2() as folder:
        letters, vocabulary = _byte_level_alphabet(), json.loads((folder / "vocab.json").read_text())
        ranks = {bytes(letters[one] for one in token): rank for token, rank in vocabulary.items() if rank != END}
        encoder = tiktoken.Encoding(
            "gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": END}
        )

        def process(example: dict[str, str]) -> dict[str, object]:
            ids = encoder.encode_ordinary(example["text"])
            ids.append(encoder.eot_token)
            return {"ids": ids, "len": len(ids)}

        source = datasets.Dataset.from_dict({"text": documents})
        started = time.perf_counter()
        done = source.map(process, remove_columns=["text"], num_proc=CORES)
        total = int(np.sum(done["len"], dtype=np.uint64))
        if write:
            packed = np.memmap(folder / "train.bin", dtype=np.uint16, mode="w+", shape=(total,))
            place, shards = 0, min(1024, len(documents))
            for number in range(shards):
                batch = done.shard(num_shards=shards, index=number, contiguous=True).with_format("numpy")
                ids = np.concatenate(batch["ids"])
                packed[place : place + len(ids)] = ids
                place += len(ids)
            packed.flush()
        return facts(time.perf_counter() - started, total - len(documents), documents)


def datasets_map() -> Facts:
    """transformers' tokenizer in batches of `datasets.map`, written as Arrow."""
    import datasets
    from transformers import PreTrainedTokenizerFast

    datasets.disable_progress_bars()
    documents = texts()
    with gpt2() as folder:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        source = datasets.Dataset.from_dict({"text": documents})
        started = time.perf_counter()
        done = source.map(
            lambda batch: {"ids": tokenizer(batch["text"])["input_ids"]},
            batched=True,
            remove_columns=["text"],
            num_proc=CORES,
        )
        done.save_to_disk(str(folder.parent / "arrow"))
        seconds = time.perf_counter() - started
        return facts(seconds, sum(len(ids) for ids in done["ids"]), documents)


SHARDS = Work(
    "shards",
    (
        Side("lmworks", "", ours),
        Side("nanoGPT prepare", "", nanogpt),
        Side("nanoGPT map alone", "", lambda: nanogpt(write=False)),
        Side("datasets.map", "", datasets_map),
    ),
)
