"""Logits, patterns, the logit lens, patching and the kinds of heads, equal to TransformerLens on the same weights: of a
Llama (rotated queries, shared keys, root-mean-square norms) and a GPT-2 (learned positions, layer norms, biases).

It is no dependency: these run where it is installed (CONTRIBUTING.md has the command). Their bridge reads the weights
as they are: nothing is folded or centred.

One formula differs. A score of theirs is the share of all rows' weight that falls on a pattern; a mark of ours is that
of the rows of the second reading, in which alone a token has been seen before. In the first reading the patterns of
duplicates and induction are empty, so that ours is twice theirs; that of the token before is not, so that their scorer
gets it without the rows of the first reading.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import tiny
import torch

from lmworks.inside.head_kinds import head_kinds, text_twice
from lmworks.inside.heads import attention_patterns
from lmworks.inside.lens import logit_lens
from lmworks.inside.patching import difference, patch

bridges = pytest.importorskip(
    "transformer_lens.model_bridge",
    reason="TransformerLens, or what it imports, is not installed: see CONTRIBUTING.md for the command",
    exc_type=ImportError,
)
from transformer_lens import head_detector, patching  # noqa: E402

CLEAN, CORRUPT, LENGTH = [5, 9, 2, 7, 30], [5, 9, 61, 7, 30], 12
NEAR = {"rtol": 1e-5, "atol": 1e-5}
FAMILIES = {
    "llama": {},
    "gpt2": {
        **{"family": "gpt2", "positions": "learned", "norm": "layer", "gated": False, "activation": "gelu_tanh"},
        **{"qkv_bias": True, "output_bias": True, "feed_forward_bias": True, "kv_heads": 4, "hidden_dim": 128},
    },
}


@pytest.fixture(scope="module", params=FAMILIES)
def both(request, tmp_path_factory):
    """Our network, and a bridge of theirs to the same weights in transformers."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    model = tiny.language_model(context=160, **FAMILIES[request.param])
    folder = str(model.save(tmp_path_factory.mktemp("lens") / "model"))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        yield SimpleNamespace(
            ours=model.network, theirs=bridges.TransformerBridge.boot_transformers(folder, hf_model=theirs.eval())
        )


def test_logits_are_theirs(both):
    tokens = torch.tensor([CLEAN, CORRUPT])
    torch.testing.assert_close(both.ours(tokens), both.theirs(tokens), **NEAR)


def test_patterns_of_attention_are_theirs(both):
    tokens = torch.tensor([CLEAN, CORRUPT])
    _, seen = both.theirs.run_with_cache(tokens)
    expected = torch.stack([seen[f"blocks.{layer}.attn.hook_pattern"] for layer in range(2)])
    torch.testing.assert_close(attention_patterns(both.ours, tokens), expected, **NEAR)


@pytest.mark.parametrize("at", [-1, 1])
def test_the_lens_says_what_theirs_does_after_each_layer(both, at):
    tokens = torch.tensor([CLEAN, CORRUPT])
    _, seen = both.theirs.run_with_cache(tokens)
    streams = [seen["blocks.0.hook_in"], *(seen[f"blocks.{layer}.hook_out"] for layer in range(2))]
    expected = [both.theirs.unembed(both.theirs.ln_final(one))[:, at].log_softmax(dim=-1) for one in streams]
    torch.testing.assert_close(logit_lens(both.ours, tokens, at), torch.stack(expected), **NEAR)


@pytest.mark.parametrize(
    "place", ["residual_in", "residual_middle", "heads", "attention_output", "feed_forward_output"]
)
def test_patching_gives_what_theirs_does(both, place):
    sweep = {
        "residual_in": patching.get_act_patch_resid_pre,
        "residual_middle": patching.get_act_patch_resid_mid,
        "heads": patching.get_act_patch_attn_head_out_all_pos,
        "attention_output": patching.get_act_patch_attn_out,
        "feed_forward_output": patching.get_act_patch_mlp_out,
    }[place]
    metric, clean, corrupt = difference(8, 3), torch.tensor([CLEAN]), torch.tensor([CORRUPT])
    logits, seen = both.theirs.run_with_cache(clean)
    ends = float(metric(logits[:, -1])), float(metric(both.theirs(corrupt)[:, -1]))
    theirs = sweep(both.theirs, corrupt, seen, lambda logits: metric(logits[:, -1])[0])
    torch.testing.assert_close(
        patch(both.ours, CLEAN, CORRUPT, metric, place=place), (theirs - ends[1]) / (ends[0] - ends[1]), **NEAR
    )


@pytest.mark.parametrize("kind", ["previous", "duplicate", "induction"])
def test_heads_have_the_marks_of_theirs(both, kind):
    tokens = text_twice(both.ours, LENGTH, rows=1)
    _, seen = both.theirs.run_with_cache(tokens)
    name = f"{kind}_head" if kind == "induction" else f"{kind}_token_head"
    wanted = getattr(head_detector, f"get_{name}_detection_pattern")(tokens)
    if kind == "previous":
        wanted[:LENGTH] = 0
    scores = [
        [
            head_detector.compute_head_attention_similarity_score(
                one, wanted, exclude_bos=False, exclude_current_token=False, error_measure="mul"
            )
            for one in seen[f"blocks.{layer}.attn.hook_pattern"][0]
        ]
        for layer in range(2)
    ]
    torch.testing.assert_close(getattr(head_kinds(both.ours, LENGTH, rows=1), kind), 2 * torch.tensor(scores), **NEAR)
