"""Cold processes, timed from their start: to the first token, with the most memory that they held, and
`import lmworks` alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.shapes import random_gguf
from benchmarks.work import Facts, Side, Work, in_transformers, smollm2_folder
from benchmarks.works.embed import peer

PROMPT = "The capital of France is"
QUESTION = "When is the rent due?"


def first_token_ours(compress: str | None = None, dtype: str | None = None) -> Facts:
    """Load SmolLM2 and write one token."""
    import lmworks as lm

    next(lm.load("smollm2", compress=compress, dtype=dtype).stream(PROMPT, max_new_tokens=1), None)
    return {}


def billion() -> str:
    """A file of 1.07 billion weights."""
    return str(random_gguf("llama-1b"))


def first_token_of(model: str) -> Facts:
    """Load a model and write one token."""
    import lmworks as lm

    next(lm.load(model).stream(PROMPT, max_new_tokens=1), None)
    return {}


def very_first_token_of(model: str) -> Facts:
    """The same where nothing of it has been packed before."""
    from lmworks.kernels.keeping import forget
    from lmworks.models.files.references import resolve

    forget(resolve(model))
    return first_token_of(model)


def first_token_llama_cpp(model: str) -> Facts:
    """The same file in llama.cpp, with the window that it needs."""
    from benchmarks.programs import LlamaCpp
    from lmworks.models.files.references import resolve

    LlamaCpp("llama.cpp", Path(resolve(model)), threads(), window=512).read([list(range(500, 505))])
    return {}


def vector_ours(compress: str | None = None) -> Facts:
    """Load MiniLM and embed a question."""
    import lmworks as lm

    lm.load("minilm", compress=compress).vectors([QUESTION])
    return {}


def vector_sentence_transformers() -> Facts:
    """The same with sentence-transformers, from the same weights."""
    peer()([QUESTION])
    return {}


def threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def first_token_transformers(dtype: str) -> Facts:
    """The same with transformers, from a directory of 16-bit weights."""
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(smollm2_folder())(PROMPT, return_tensors="pt")
    in_transformers(dtype).generate(**ids, max_new_tokens=1, do_sample=False)
    return {}


def import_ours() -> Facts:
    """A process that does nothing else."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import lmworks"], check=True)
    return {"value": time.perf_counter() - start}


def by_processor(first_token: Callable[[], Facts]) -> Callable[[], Facts]:
    """The seconds of processor time that the process and its children took, which neighbours change less than those of
    the clock."""

    def run() -> Facts:
        first_token()
        return {"value": sum(os.times()[:4])}

    return run


FIRST_TOKEN = Work(
    "start, first token",
    (
        Side("lmworks", "4 bits", first_token_ours),
        Side("lmworks", "4 bits, packed first", lambda: very_first_token_of("smollm2")),
        Side("llama.cpp", "Q4_1", lambda: first_token_llama_cpp("smollm2")),
        Side("lmworks", "bf16", lambda: first_token_ours(dtype="bfloat16")),
        Side("transformers", "bf16", lambda: first_token_transformers("bfloat16")),
        Side("transformers", "fp32", lambda: first_token_transformers("float32")),
    ),
    unit="s",
)
BY_PROCESSOR = Work(
    "start, processor time",
    (
        Side("lmworks", "4 bits", by_processor(first_token_ours)),
        Side("lmworks at its first start", "4 bits", by_processor(lambda: very_first_token_of("smollm2"))),
        Side("lmworks in PyTorch", "bf16", by_processor(lambda: first_token_ours(dtype="bfloat16"))),
        Side("transformers", "bf16", by_processor(lambda: first_token_transformers("bfloat16"))),
        Side("llama.cpp", "Q4_1", by_processor(lambda: first_token_llama_cpp("smollm2"))),
    ),
    unit="s",
)
BILLION = Work(
    "start, 1 B",
    (
        Side("lmworks", "Q4_0", lambda: first_token_of(billion())),
        Side("lmworks", "Q4_0, packed first", lambda: very_first_token_of(billion())),
        Side("llama.cpp", "Q4_0", lambda: first_token_llama_cpp(billion())),
    ),
    unit="s",
)
VECTOR = Work(
    "start, a vector, processor time",
    (
        Side("lmworks", "8 bits", by_processor(vector_ours)),
        Side("lmworks in PyTorch", "fp32 or bf16", by_processor(lambda: vector_ours("none"))),
        Side("sentence-transformers", "fp32", by_processor(vector_sentence_transformers)),
    ),
    unit="s",
)
IMPORT = Work("start, import lmworks", (Side("lmworks", "", import_ours),), unit="s")
