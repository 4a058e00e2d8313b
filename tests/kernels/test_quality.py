"""The compiled path of the real small model beside float32 with the same weights, on real text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("numba")

from lmworks.kernels import compiled, unavailable
from lmworks.kernels.packing import unpacked
from lmworks.language_model import LanguageModel
from lmworks.models.files.gguf import read_gguf_network
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_groups import StoredInGGUF
from lmworks.text.sources import read

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

TOKENS, TEXTS = 1024, 32


def real_texts(model: LanguageModel) -> Tensor:
    """Stretches of real text, [TEXTS, TOKENS]."""
    try:
        documents = read("wikitext2").documents
    except Exception as error:
        pytest.skip(f"wikitext2 is not here ({error}); set LMWORKS_DATA")
    ids: list[int] = []
    for document in documents:
        ids += model.tokenizer.encode(document.text, special=False)
        if len(ids) >= TOKENS * TEXTS:
            break
    return torch.tensor(ids[: TOKENS * TEXTS]).view(TEXTS, TOKENS)


@torch.no_grad()
def test_no_weight_of_the_file_is_changed(smollm2_path: Path):
    file = GGUFFile(smollm2_path)
    network = read_gguf_network(file, torch.float32)
    engine = compiled(network, 8, StoredInGGUF(file, network.config))
    for name, weight in network.named_parameters():
        if name in engine.weights.matrices:
            packed = engine.weights.matrices[name]
            assert packed.bits == (8 if name == "embedding.weight" else 4)
            assert torch.equal(unpacked(packed), weight), name


@pytest.mark.slow
@torch.no_grad()
def test_it_agrees_with_float32(smollm2_path: Path):
    """Top-1, perplexity and KL, each text by itself printed; judged over all: of perplexity's 0.1 %, four texts tell
    nothing."""
    exact, model = LanguageModel.load("smollm2", dtype="float32"), LanguageModel.load("smollm2")
    assert model.runner.name == "compiled"
    same, divergence, difference = [], [], []
    for tokens in real_texts(model)[:, None]:
        wanted, logits = exact.network(tokens)[0].log_softmax(-1), model.logits(tokens)[0].log_softmax(-1)
        same.append((wanted.argmax(-1) == logits.argmax(-1)).float())
        divergence.append((wanted.exp() * (wanted - logits)).sum(-1))
        nll = [F.nll_loss(one[:-1], tokens[0, 1:], reduction="none") for one in (logits, wanted)]
        difference.append(nll[0] - nll[1])
        print(
            f"top-1 {same[-1].mean():.4f}  KL {divergence[-1].mean():.5f}  perplexity "
            f"{nll[0].mean().exp():.3f}, float32 {nll[1].mean().exp():.3f} "
            f"({100 * difference[-1].mean().expm1():+.3f} %)"
        )
    moved = torch.cat(difference)
    error = float(moved.std() / len(moved) ** 0.5)
    print(f"all: top-1 {torch.cat(same).mean():.4f}  KL {torch.cat(divergence).mean():.5f}  "
          f"perplexity {100 * moved.mean().expm1():+.3f} % (standard error {100 * error:.3f} %)")  # fmt: skip
    assert torch.cat(same).mean() >= 0.965
    assert torch.cat(divergence).mean() <= 0.001
    # A model's perplexity rises by about its KL from itself; the standard error is chance's share on so many tokens.
    assert abs(float(moved.mean())) <= 0.001 + 2 * error


RUNS, READ, NEW = 100, 32, 32


@pytest.mark.slow
def test_a_hundred_greedy_answers_are_those_of_float32_but_where_two_tokens_are_nearly_as_likely(smollm2_path: Path):
    """A hundred stretches of text, each continued alone and beside the others: equal to the bit. Beside float32 with
    the same weights a run may part from it where the logits of the two best tokens are nearer than rounding the
    activations to 8 bits moves them, and nowhere else."""
    exact, model = LanguageModel.load("smollm2", dtype="float32"), LanguageModel.load("smollm2")
    prompts = real_texts(model).flatten()[: RUNS * READ].view(RUNS, READ)
    model.tokenizer.__dict__["stop_ids"] = frozenset()  # always as many tokens
    together = model.generate_batch(prompts.tolist(), max_new_tokens=NEW)
    alone = [model.generate(prompt, max_new_tokens=NEW) for prompt in prompts.tolist()]
    assert [one.tokens for one in together] == [one.tokens for one in alone]
    assert [one.logprobs for one in together] == [one.logprobs for one in alone]

    # Up to where it parts, a greedy run of float32 reads what this one wrote.
    answers = torch.tensor([one.tokens for one in alone])
    read = torch.cat([prompts, answers[:, :-1]], dim=1)
    logits = torch.cat([exact.logits(part)[:, READ - 1 :] for part in read.split(20)])
    moved = torch.cat([model.logits(part)[:, READ - 1 :] for part in read.split(20)]) - logits
    best, chosen = logits.max(-1).values, logits.gather(-1, answers[..., None])[..., 0]
    parts = (best > chosen).int()
    first = [int(row.argmax()) for row in parts if row.any()]
    gaps = torch.stack([(best - chosen)[row, parts[row].argmax()] for row in range(RUNS) if parts[row].any()])
    spread = float((moved - moved.mean(-1, keepdim=True)).std())
    print(
        f"{len(first)} of {RUNS} runs part, after {sum(first) / len(first):.0f} tokens on average of {NEW}; "
        f"there float32's "
        f"logits are apart by {gaps.median():.3f}, at most {gaps.max():.3f}; rounding moves a logit by {spread:.3f}"
    )
    assert gaps.max() < 8 * spread
