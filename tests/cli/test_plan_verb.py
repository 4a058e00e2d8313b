"""`lmworks plan` as its users meet it: tables that say the same as --json, and mistakes."""

from __future__ import annotations

import pytest

WAYS = ["from nothing", "full fine-tuning", "LoRA", "QLoRA", "serving"]


def test_the_command_prints_what_json_holds(run, model_folder: str):
    options = ("plan", model_folder, "--device", "4x A100", "--set", "training.steps=5")
    shown, facts = run(*options), run(*options, "--json").json
    assert shown.code == 0 and [way["name"] for way in facts["ways"]] == WAYS
    assert f"{facts['parameters']['all']:,}" in shown.out and "4x A100" in shown.out
    for way in facts["ways"]:
        assert way["moment"] in shown.out and way["peak_bytes"] == pytest.approx(sum(way["bytes_at_peak"].values()))
        assert f"{way['flops']['all']:.3g}" in shown.out and f"{way['tokens_per_second']:,.0f}" in shown.out


def test_the_command_prints_published_figures_beside_ours(run):
    shown, facts = run("plan", "--published"), run("plan", "--published", "--json").json
    assert shown.code == 0 and all(line["what"] in shown.out for line in facts)
    assert all(f"{line['difference']:+.1%}" in shown.out for line in facts)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--device", "H10"), "did you mean H100?"),
        (("--device", "0x H100"), "asks for 0 devices"),
        (("--set", "training.stepz=4"), "did you mean training.steps?"),
    ],
)
def test_a_mistake_is_one_sentence(run, model_folder, arguments, words):
    ran = run("plan", model_folder, *arguments)
    assert ran.code == 1 and words in ran.err and len(ran.err.splitlines()) == 1 and not ran.out
