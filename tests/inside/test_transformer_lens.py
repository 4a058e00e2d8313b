"""The logit lens, patching and the kinds of heads, equal to TransformerLens on the same weights.

It is no dependency: these run where it is installed (pip install transformer-lens --no-deps).
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import tiny
import torch

from lmworks.inside.head_kinds import head_kinds, text_twice
from lmworks.inside.lens import logit_lens
from lmworks.inside.patching import difference, patch

bridges = pytest.importorskip(
    "transformer_lens.model_bridge", reason="TransformerLens is not installed", exc_type=ImportError
)
from transformer_lens import head_detector, patching  # noqa: E402

CLEAN, CORRUPT, LENGTH = [5, 9, 2, 7, 30], [5, 9, 61, 7, 30], 12
NEAR = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Our network, and a bridge of theirs to the same weights in transformers."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    model = tiny.language_model(context=160)
    folder = str(model.save(tmp_path_factory.mktemp("lens") / "model"))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        yield SimpleNamespace(
            ours=model.network, theirs=bridges.TransformerBridge.boot_transformers(folder, hf_model=theirs.eval())
        )


def test_the_lens_says_what_theirs_does_after_each_layer(both):
    tokens = torch.tensor([CLEAN])
    _, seen = both.theirs.run_with_cache(tokens)
    streams = [seen["blocks.0.hook_in"], *(seen[f"blocks.{layer}.hook_out"] for layer in range(2))]
    expected = [both.theirs.unembed(both.theirs.ln_final(one))[:, -1].log_softmax(dim=-1) for one in streams]
    torch.testing.assert_close(logit_lens(both.ours, tokens), torch.stack(expected), **NEAR)


@pytest.mark.parametrize("place", ["residual_in", "heads", "attention_output", "feed_forward_output"])
def test_patching_gives_what_theirs_does(both, place):
    sweep = {
        "residual_in": patching.get_act_patch_resid_pre,
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


@pytest.mark.parametrize("kind", ["duplicate", "induction"])
def test_heads_have_the_marks_of_theirs(both, kind):
    tokens = text_twice(both.ours, LENGTH, rows=1)
    _, seen = both.theirs.run_with_cache(tokens)
    wanted = getattr(head_detector, f"get_{kind}_{'token_' if kind == 'duplicate' else ''}head_detection_pattern")(
        tokens
    )
    scores = [
        [
            head_detector.compute_head_attention_similarity_score(
                one, wanted, exclude_bos=False, exclude_current_token=False, error_measure="mul"
            )
            for one in seen[f"blocks.{layer}.attn.hook_pattern"][0]
        ]
        for layer in range(2)
    ]
    # Theirs are shares of all rows' weight, ours of those of the second reading.
    torch.testing.assert_close(getattr(head_kinds(both.ours, LENGTH, rows=1), kind), 2 * torch.tensor(scores), **NEAR)
