"""Our GGUF files in llama.cpp itself: the same ids, logits within float16's reach, the same greedy tokens.

llama-cpp-python has no wheel for Linux on PyPI and takes minutes to compile, so it belongs to no extra: these tests run
where somebody has installed it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jobs.small_files import FAMILIES, TEXTS, language_model

import lmworks as lm
from lmworks.jobs.export import PROBES, export
from lmworks.models.files.gguf_pieces_writing import HARD
from lmworks.models.files.gguf_vocabulary_writing import NAMES
from lmworks.tokens.chat.conversation import encode_chat

llama_cpp = pytest.importorskip("llama_cpp", reason="pip install llama-cpp-python (compiles llama.cpp, minutes)")


K_QUANTS = {"dim": 256, "hidden_dim": 512, "heads": 4, "kv_heads": 4}
"""Rows of whole blocks of 256."""


CONTEXT = 256


def opened(file: Path, **settings: Any) -> Any:
    return llama_cpp.Llama(str(file), n_ctx=CONTEXT, n_threads=1, verbose=False, logits_all=True, **settings)


def without_tiles() -> Any:
    """llama.cpp's settings of a model, its weights as they stand in the file."""
    usual = llama_cpp.llama_model_default_params()
    usual.use_extra_bufts = False
    return usual


def greedy(llama: Any, ids: list[int], stops: frozenset[int], most: int) -> list[int]:
    written: list[int] = []
    llama.reset()
    for token in llama.generate(ids, temp=0.0, top_k=1, repeat_penalty=1.0):
        written.append(token)
        if token in stops or len(written) == most:
            break
    return written


@pytest.mark.parametrize("kind", ["f16", "q8_0", "q4_0", "q4_k_m", "q5_k_m", "q6_k"])
@pytest.mark.parametrize("family", FAMILIES)
def test_llama_cpp_computes_the_logits_that_lmworks_reads_from_the_file(
    family: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = FAMILIES[family]
    if "latent" in settings:  # its tiles of AMX abort on matrices of heads (GGML_ASSERT in ggml-backend.cpp)
        monkeypatch.setattr(llama_cpp.llama_cpp, "llama_model_default_params", without_tiles)
    more = dict(K_QUANTS) if "_k" in kind else {}
    if family == "phi3":  # llama.cpp takes longrope's factors by the window that it opens, 256 at least
        more["rope_scaling"] = FAMILIES["phi3"]["rope_scaling"].but(original_context=CONTEXT)
    if family == "gpt_oss":  # whose blend of frequencies begins and ends at whole numbers there, which shows when small
        more["rope_scaling"] = None
    model = language_model(family, context=CONTEXT, **more)
    file = export(model.save(tmp_path / "model"), tmp_path / "m.gguf", kind=kind).file
    back, llama = lm.load(file, dtype="float32"), opened(file)
    ids = model.tokenizer.encode(PROBES[0])[:60]
    llama.eval(ids)
    theirs = torch.from_numpy(np.array(llama.scores[: len(ids)]))
    ours = back.logits([ids])[0]
    away = (theirs - ours).std() / ours.std()
    if "experts" in settings:  # where two are nearly as good, rounding decides, and a token or two go elsewhere
        away = ((theirs - ours).std(dim=1) / ours.std(dim=1)).median()
    # llama.cpp rounds what goes into a product: to float16 where weights are, to 8 bits where they are quantised.
    # K-quants share a scale of inputs in blocks of 256 there: random weights show it more than learnt ones.
    of_16, of_8, of_k = 0.01 if "experts" in settings else 3e-3, 0.05, 0.15
    if family == "deepseek_v2":  # 27 layers of experts
        of_16, of_8, of_k = 0.04, 0.3, 0.3
    assert away < (of_16 if kind == "f16" else of_k if "_k" in kind else of_8)
    if kind == "f16" and family != "olmo2" and "experts" not in settings:  # random weights that nearly tie
        assert greedy(llama, ids[:8], model.tokenizer.stop_ids, 40) == back.generate(ids[:8], max_new_tokens=40).tokens


@pytest.mark.parametrize("rule", NAMES)
def test_llama_cpp_encodes_to_the_same_ids(rule: str, tmp_path: Path):
    model = language_model(rule=rule)
    llama = opened(export(model.save(tmp_path / "model"), tmp_path / "m.gguf").file)
    for text in PROBES:
        composed = text.replace("e\u0301", "é") if rule == "qwen2" else text  # llama.cpp itself composes nothing
        assert llama.tokenize(composed.encode(), add_bos=True, special=False) == model.tokenizer.encode(composed)
        assert llama.detokenize(model.tokenizer.encode(composed)).decode() == composed
    chat = [{"role": "user", "content": "How do lists work?"}, {"role": "assistant", "content": "In order."}]
    marked = "".join(f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in chat)
    assert llama.tokenize(marked.encode(), add_bos=False, special=True) == encode_chat(
        model.tokenizer, chat, add_generation_prompt=False
    )
    assert llama.metadata["tokenizer.chat_template"] == model.tokenizer.chat_template


@pytest.mark.parametrize("rule", ["pieces", "pieces as they are"])
def test_llama_cpp_joins_sentencepieces_to_the_same_ids(rule: str, tmp_path: Path):
    model = language_model(rule=rule)
    llama = opened(export(model.save(tmp_path / "model"), tmp_path / "m.gguf").file)
    for text in (*PROBES, *HARD, *TEXTS, "x <b> y"):
        assert llama.tokenize(text.encode(), add_bos=True, special=False) == model.tokenizer.encode(text), repr(text)
    marked = "a</s>b <s> c"
    ours = model.tokenizer.encode(marked, special=False, markup=True)
    assert llama.tokenize(marked.encode(), add_bos=False, special=True) == ours


@pytest.mark.slow
def test_smollm2_answers_with_the_same_tokens_in_three_programs(smollm2_path: Path, tmp_path: Path):
    transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")
    model = lm.load(smollm2_path, dtype="float32")
    file = export(smollm2_path, tmp_path / "m.gguf").file
    llama, back = opened(file), lm.load(file, dtype="float32")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(model.save(tmp_path / "folder"), dtype=torch.float32)
    for prompt in ("Once upon a time", "def fib(n):\n", "Water boils at"):
        ids = model.tokenizer.encode(prompt)
        ours = model.generate(ids, max_new_tokens=32).tokens
        assert len(ours) == 32 and greedy(llama, ids, model.tokenizer.stop_ids, 32) == ours
        assert back.generate(ids, max_new_tokens=32).tokens == ours
        made = theirs.generate(torch.tensor([ids]), max_new_tokens=32, do_sample=False)
        assert made[0, len(ids) :].tolist() == ours
