"""A model on our compiled path and beside it in llama.cpp and OpenVINO GenAI: forget, read, give the likeliest token.

llama.cpp is called through llama-cpp-python's low-level `llama_decode`, with as many threads, on the same file (Q4_1)
and on a Q4_0 that `lmworks export` makes of it (other weights, llama.cpp's fastest path). OpenVINO GenAI reads the
same file by its own reader, and prompts alone are asked of it. Without these packages ours runs alone.
"""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

MOST_ROWS = 16


class Compiled:
    """Our network's own interface: no sampler, greedy choice by argmax, as for the peer."""

    program, format, reads_alone = "lmworks", "4 bits", False

    def __init__(self, model: str = "smollm2") -> None:
        from lmworks.language_model import LanguageModel

        self.model = LanguageModel.load(model)
        self.runner = self.model.runner
        self.clear()

    def clear(self, rows: int = 1) -> None:
        """Forget all texts."""
        import torch

        with torch.inference_mode():
            self.cache = self.runner.new_cache(rows)

    def read(self, tokens: list[list[int]]) -> list[int]:
        """Read new tokens of every row; the likeliest next one of each."""
        import torch

        with torch.inference_mode():
            *parts, last = torch.tensor(tokens).split(512, dim=1)
            for part in parts:
                self.runner.read(part, self.cache)
            return self.runner.next_logits(last, self.cache).argmax(-1).tolist()

    def never_stop(self) -> None:
        """Write as many tokens as are asked for, whatever they are."""
        self.model.tokenizer.__dict__["stop_ids"] = frozenset()


class CompiledFloats(Compiled):
    """The same on a file of bfloat16 weights, which tiles multiply as they are (AMX): asked only how it reads prompts,
    as a stream of theirs waits for three times the memory."""

    program, format, reads_alone = "lmworks in bfloat16", "", True


class LlamaCpp:
    """The peer, one sequence for each row. It computes in a thread of its own: it sets its tiles (AMX) up once in each
    thread, and ours lets go of them."""

    format, reads_alone = "", False

    def __init__(self, program: str, path: Path, threads: int, window: int = 16_384) -> None:
        import llama_cpp as peer

        self.program, self.peer, self._thread = program, peer, ThreadPoolExecutor(1)
        self._quiet = peer.llama_log_callback(lambda level, text, data: None)
        peer.llama_log_set(self._quiet, ctypes.c_void_p(0))
        peer.llama_backend_init()
        self.loaded = peer.llama_model_load_from_file(str(path).encode(), peer.llama_model_default_params())
        settings = peer.llama_context_default_params()
        settings.n_ctx, settings.n_seq_max, settings.n_batch, settings.n_ubatch = window, MOST_ROWS, 512, 512
        settings.n_threads = settings.n_threads_batch = threads
        if hasattr(settings, "kv_unified"):
            settings.kv_unified = True
        self.context = peer.llama_init_from_model(self.loaded, settings)
        self.batch = peer.llama_batch_init(512, 0, MOST_ROWS)
        self.size = peer.llama_vocab_n_tokens(peer.llama_model_get_vocab(self.loaded))
        self.length = 0

    def clear(self, rows: int = 1) -> None:
        """Forget all texts."""
        self.peer.llama_memory_clear(self.peer.llama_get_memory(self.context), True)
        self.length = 0

    def logits(self, ids: list[int]) -> Any:
        """Of a text of at most 512 tokens, those after every token."""
        return self._thread.submit(self._logits, ids).result()

    def _logits(self, ids: list[int]) -> Any:
        import numpy as np
        import torch

        self.clear()
        self.batch.n_tokens = len(ids)
        for slot, token in enumerate(ids):
            self.batch.token[slot], self.batch.pos[slot] = token, slot
            self.batch.n_seq_id[slot], self.batch.seq_id[slot][0] = 1, 0
            self.batch.logits[slot] = True
        if self.peer.llama_decode(self.context, self.batch):
            raise SystemExit("llama_decode failed")
        rows = [self.peer.llama_get_logits_ith(self.context, slot) for slot in range(len(ids))]
        return torch.tensor(np.stack([np.ctypeslib.as_array(row, (self.size,)) for row in rows]))

    def read(self, tokens: list[list[int]]) -> list[int]:
        """Read new tokens of every row; the likeliest next one of each."""
        return self._thread.submit(self._read, tokens).result()

    def _read(self, tokens: list[list[int]]) -> list[int]:
        import numpy as np

        count, at_once = len(tokens[0]), max(512 // len(tokens), 1)
        for start in range(0, count, at_once):
            stop = min(start + at_once, count)
            entries = [(row[place], place, number) for number, row in enumerate(tokens) for place in range(start, stop)]
            self.batch.n_tokens = len(entries)
            for slot, (token, place, number) in enumerate(entries):
                self.batch.token[slot], self.batch.pos[slot] = token, self.length + place
                self.batch.n_seq_id[slot], self.batch.seq_id[slot][0] = 1, number
                self.batch.logits[slot] = place == count - 1
            if self.peer.llama_decode(self.context, self.batch):
                raise SystemExit("llama_decode failed")
        self.length += count
        last = [slot for slot, (_, place, _) in enumerate(entries) if place == count - 1]
        made = [self.peer.llama_get_logits_ith(self.context, slot) for slot in last]
        return [int(np.ctypeslib.as_array(one, (self.size,)).argmax()) for one in made]


class OpenVino:
    """The peer that reads prompts fastest: its pipeline is asked for one token after a whole prompt. Activations have 8
    bits in groups of 32, as ours, with which it is faster than by itself."""

    program, format, reads_alone = "OpenVINO GenAI", "", True

    def __init__(self, path: Path, threads: int) -> None:
        import openvino_genai as peer

        scheduler = peer.SchedulerConfig()
        scheduler.enable_prefix_caching = False  # the same prompt is read again and again
        settings = {"INFERENCE_NUM_THREADS": threads, "DYNAMIC_QUANTIZATION_GROUP_SIZE": 32}
        self.peer = peer
        self.pipeline = peer.LLMPipeline(str(path), "CPU", scheduler_config=scheduler, **settings)

    def clear(self, rows: int = 1) -> None:
        """Nothing: each prompt is read from its beginning."""

    def read(self, tokens: list[list[int]]) -> list[int]:
        """The likeliest token after a prompt."""
        import numpy as np
        import openvino

        ids = np.array(tokens)
        inputs = self.peer.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids)))
        settings = self.peer.GenerationConfig(max_new_tokens=1, ignore_eos=True, do_sample=False)
        return [row[0] for row in self.pipeline.generate(inputs, settings).tokens]


def programs(threads: int, file: str | None = None) -> list[Any]:
    """Ours, and the peer's two where its package is installed; on a `file` (shapes.py) both programs have that, and
    where the processor has tiles for bfloat16 there is also ours on the same network in it."""
    from benchmarks.shapes import exported, named
    from lmworks.kernels.emit.tiles import has_tiles
    from lmworks.models.files.references import resolve

    path = None if file is None else named(file)
    ours = Compiled("smollm2" if path is None else str(path))
    installed = {name for name in ("llama_cpp", "openvino_genai") if find_spec(name) is not None}
    if not installed:
        print("neither llama-cpp-python nor openvino-genai is installed; ours runs alone")
        return [ours]
    if path is not None:
        shape, kind = file.rsplit(".", 1) if file else ("", "")
        ours.format = kind.upper()
        peers: list[Any] = [LlamaCpp("llama.cpp", path, threads, window=4096)] if "llama_cpp" in installed else []
        peers += [OpenVino(path, threads)] if "openvino_genai" in installed else []
        floats = has_tiles() and kind not in ("bf16", "f16")
        return [ours, *peers, *([CompiledFloats(str(named(f"{shape}.bf16")))] if floats else [])]
    if "llama_cpp" not in installed:
        return [ours]
    return [
        ours,
        LlamaCpp("llama.cpp Q4_1", resolve("smollm2"), threads),
        LlamaCpp("llama.cpp Q4_0", exported("smollm2", "q4_0"), threads),
    ]
