"""Cold processes, timed from their start: to the first token, and `import lmworks` alone."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.work import Facts, Side, Work, in_transformers, smollm2_folder

PROMPT = "The capital of France is"


def first_token_ours(compress: str | None = None, dtype: str | None = None) -> Facts:
    """Load SmolLM2 and write one token."""
    import lmworks as lm

    next(lm.load("smollm2", compress=compress, dtype=dtype).stream(PROMPT, max_new_tokens=1), None)
    return {}


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


FIRST_TOKEN = Work(
    "start, first token",
    (
        Side("lmworks", "4 bits", first_token_ours),
        Side("lmworks", "bf16", lambda: first_token_ours(dtype="bfloat16")),
        Side("transformers", "bf16", lambda: first_token_transformers("bfloat16")),
        Side("transformers", "fp32", lambda: first_token_transformers("float32")),
    ),
    unit="s",
)
IMPORT = Work("start, import lmworks", (Side("lmworks", "", import_ours),), unit="s")
