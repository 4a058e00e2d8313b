"""Items of tasks a second of processor time, SmolLM2 compiled beside lm-evaluation-harness with transformers, the same
prompts, one thread each: what others do on the machine changes little. Each in the better of two formats: ours in the
file's 4 bits or in bfloat16, which tiles (AMX) multiply without a scale for each 32 inputs, theirs in bfloat16 or
float32.

Ours reads 200 items of each, and of BBQ all 11,956: its first 200 are all of one category, shorter than the others. The
harness, whose time for an item does not depend on how many there are, reads 8 to 48 of them, at equal distances by
length: as long as all are on average. (At equal distances in their order, those of BBQ were a quarter shorter, as its
contexts take turns.) The harness' own task files and its bootstrap are left out of
its time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from itertools import chain
from typing import Any

from benchmarks.work import Facts, Side, Work, in_transformers, smollm2_folder

ITEMS = 200
BATCH = 8
"""Rows that the harness reads at once; here more were no faster."""


def _asked(name: str, limit: int | None) -> Any:
    from lmworks.evaluation.tasks.asked import AskedTask
    from lmworks.evaluation.tasks.find import find

    task, _, shots = name.partition(":")
    return AskedTask.of(find(task), int(shots or 0), limit)


def of_every_length(items: Sequence[Any], count: int) -> list[Any]:
    """This many of these items, at equal distances by the length of what is asked."""
    ordered = sorted(items, key=lambda one: sum(map(len, chain.from_iterable(one.asked))))
    return [ordered[int(len(items) / count * (at + 0.5))] for at in range(count)]


def ours(name: str, bits: str, limit: int | None) -> Facts:
    """From the items to their scores, with weights as the file has them or in bfloat16."""
    import lmworks as lm
    from lmworks.evaluation.tasks.run import run

    os.environ["LMWORKS_THREADS"] = "1"
    asked = _asked(name, limit)
    model = lm.load("smollm2") if bits == "compiled" else lm.load(smollm2_folder(), compress="bf16")
    model.loglikelihood([("warm", " up")])
    started = time.process_time()
    run(model, asked)
    return {"value": len(asked.items) / (time.process_time() - started), "items": len(asked.items)}


def harness(name: str, dtype: str, items: int, limit: int | None) -> Facts:
    """From the same pairs of prompt and choice to their log-likelihoods."""
    import torch
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(1)
    asked = _asked(name, limit)
    chosen = of_every_length(asked.items, items)
    folder = str(smollm2_folder())
    model = HFLM(in_transformers(dtype), tokenizer=folder, batch_size=BATCH, device="cpu")
    pairs = [pair for item in chosen for pair in item.after(asked.examples)]
    requests = [Instance("loglikelihood", {}, pair, at) for at, pair in enumerate(pairs)]
    model.loglikelihood(requests[:2], disable_tqdm=True)
    started = time.process_time()
    model.loglikelihood(requests, disable_tqdm=True)
    return {"value": items / (time.process_time() - started), "items": items}


def _work(called: str, name: str, items: int, limit: int | None = ITEMS) -> Work:
    """The harness reads `items` of the first `limit` that ours reads; None: of all."""
    peer = "lm-eval + transformers"
    sides = (
        *(Side("lmworks", bits, lambda bits=bits: ours(name, bits, limit)) for bits in ("compiled", "compiled bf16")),
        Side(peer, "bf16", lambda: harness(name, "bfloat16", items, limit)),
        Side(peer, "fp32", lambda: harness(name, "float32", items, limit)),
    )
    return Work(f"tasks, {called}, processor time", sides, unit="items/s")


ARC = _work("ARC-E, no shots", "arc-easy", 32)
ARC_5 = _work("ARC-E, 5 shots", "arc-easy:5", 8)
BBQ = _work("BBQ", "bbq", 48, None)
BLIMP = _work("BLiMP", "blimp", 48)
