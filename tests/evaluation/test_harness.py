"""lm-evaluation-harness both ways: our tasks ask what its own do, byte for byte, and its tasks run on our models.

It is no dependency of the tests; they run where it is installed (pip install 'lmworks[harness]').
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny

from lmworks.basics.errors import ConfigError
from lmworks.evaluation.tasks.asked import AskedTask
from lmworks.evaluation.tasks.find import find
from lmworks.evaluation.tasks.run import run
from lmworks.text import registry

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (extra harness)")
SETS = {
    "arc-easy": "arc/arc_easy.yaml",
    "arc-challenge": "arc/arc_challenge.yaml",
    "piqa": "piqa/piqa.yaml",
    "openbookqa": "openbookqa/openbookqa.yaml",
    "winogrande": "winogrande/default.yaml",
    "blimp:adjunct_island": "blimp/adjunct_island.yaml",
    "crows-pairs": "crows_pairs/crows_pairs_english.yaml",
}


def available(name):
    data = find(name.partition(":")[0]).data
    if not registry.available(data):
        pytest.skip(f"{data} is not here; fetch it with: lmworks evaluate smollm2 --task {data}")


def as_published(name, item):
    """An item's record as its own set has it, made from our item."""
    question = item.asked[0][0].removeprefix("Question: ").removesuffix("\nAnswer:")
    labelled = {"text": list(item.choices), "label": [chr(ord("A") + at) for at in range(len(item.choices))]}
    answer = chr(ord("A") + item.right)
    if name.startswith("arc"):
        return {"question": question, "choices": labelled, "answerKey": answer}
    if name == "openbookqa":
        return {"question_stem": item.asked[0][0], "choices": labelled, "answerKey": answer}
    if name == "piqa":
        return {"goal": question, "sol1": item.choices[0], "sol2": item.choices[1], "label": item.right}
    if name == "winogrande":
        before = item.asked[0][0].removesuffix(item.choices[0])
        options = {f"option{at}": choice for at, choice in enumerate(item.choices, 1)}
        return {"sentence": f"{before}_{item.asked[0][1]}", **options, "answer": str(item.right + 1)}
    if name == "crows-pairs":
        return dict(zip(("sent_more", "sent_less"), item.choices, strict=True))
    return dict(zip(("sentence_good", "sentence_bad"), item.choices, strict=True))


def test_the_command_line_knows_the_harness_own_models_beside_ours():
    code = "import lmworks.evaluation.harness, lm_eval.api.registry as of; print(*of.model_registry)"
    known = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"lmworks", "hf", "local-completions"} <= set(known)


@pytest.fixture
def its_task(tmp_path, monkeypatch):
    """The harness' own task on records of ours."""
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    import lm_eval
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    def make(name, items, examples=()):
        files = {}
        for split, part in (("train", examples or items), ("test", items)):
            files[split] = str(tmp_path / f"{split}.json")
            Path(files[split]).write_text("\n".join(json.dumps(as_published(name, one)) for one in part))
        config = dict(load_yaml(Path(lm_eval.__file__).parent / "tasks" / SETS[name], resolve_func=True))
        for key in ("tag", "dataset_name", "validation_split", "include"):
            config.pop(key, None)
        config |= {"dataset_path": "json", "dataset_kwargs": {"data_files": files, "cache_dir": str(tmp_path / "data")}}
        config |= {"training_split": "train", "test_split": "test", "fewshot_split": "train"}
        config |= {"num_fewshot": len(examples), "fewshot_config": {"sampler": "first_n", "split": "train"}}
        return ConfigurableTask(config=config)

    return make


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("shots", [0, 3])
def test_our_prompts_are_its_own_byte_for_byte(name, shots, its_task):
    available(name)
    task = find(name)
    if shots and not task.examples:
        pytest.skip("takes no examples")
    asked = AskedTask.of(task, shots=shots, limit=25)
    theirs = its_task(name, asked.items, task.items()[:shots])
    theirs.build_all_requests(rank=0, world_size=1)
    found = sorted((one.doc_id, one.idx, one.args) for one in theirs.instances)
    ours = [pair for item in asked.items for pair in item.after(asked.examples)]
    assert [pair for _, _, pair in found] == ours


@pytest.fixture(scope="module")
def model():
    return tiny.language_model(seed=4, family="llama", context=256)


def test_its_evaluation_runs_on_our_model_and_finds_what_ours_finds(model, its_task):
    available("arc-easy")
    import lm_eval
    from lm_eval.tasks import TaskManager

    from lmworks.evaluation.harness import Harness

    asked = AskedTask.of(find("arc-easy"), limit=12)
    theirs = its_task("arc-easy", asked.items)
    found = lm_eval.simple_evaluate(
        model=Harness(model), tasks=[theirs], bootstrap_iters=0, task_manager=TaskManager(include_defaults=False)
    )
    ours = run(model, asked)
    [result] = found["results"].values()
    assert result["acc,none"] == pytest.approx(sum(one.credit("sum") for one in ours) / 12)
    assert result["acc_norm,none"] == pytest.approx(sum(one.credit("characters") for one in ours) / 12)
    [samples] = found["samples"].values()
    for sample, one in zip(sorted(samples, key=lambda sample: sample["doc_id"]), ours, strict=True):
        assert [float(answer[0][0]) for answer in sample["resps"]] == pytest.approx(one.scores["sum"], abs=1e-3)


def test_its_registry_knows_our_models(model):
    from lm_eval.api.registry import get_model

    from lmworks.evaluation.harness import Harness

    assert get_model("lmworks") is Harness
    with pytest.raises(ConfigError, match="peft is no setting of --model lmworks"):
        Harness(model, peft="x")


def asked(*given):
    return [SimpleNamespace(args=one) for one in given]


def test_written_answers_end_where_the_task_says(model):
    from lmworks.evaluation.harness import Harness

    whole = model.generate("ab", max_new_tokens=20).text
    stop = whole[-1]
    said = {"until": [stop], "max_gen_toks": 20, "do_sample": False}
    [first, second] = Harness(model).generate_until(asked(("ab", said), ("ab", {"max_gen_toks": 2, "until": []})))
    assert first == whole[: whole.index(stop)] and whole.startswith(second) and len(second) < len(whole)
    with pytest.raises(ConfigError, match="answers of 256 tokens leave no room"):
        Harness(model).generate_until(asked(("ab", {"until": []})))


def test_a_rolling_text_is_scored_in_windows_that_do_not_overlap(model):
    from lmworks.evaluation.harness import Harness

    text = "".join(chr(97 + at % 26) for at in range(300))
    [total] = Harness(model).loglikelihood_rolling(asked((text,)))
    ids = model.tokenizer.encode(text, special=False)
    first = dict(model.continuations([([model.tokenizer.eos], ids[:256])]))[0].total
    last = dict(model.continuations([(ids[299 - 256 : 256], ids[256:])]))[0].total
    assert total == pytest.approx(first + last, abs=1e-3)


@pytest.mark.parametrize("which", ["tiny", pytest.param("smollm2", marks=pytest.mark.slow)])
def test_log_likelihoods_are_those_of_its_own_model(which, its_task, tmp_path, request):
    """Float32 beside lm-eval's transformers model at three batch sizes: within 1e-3, and every pick equal."""
    pytest.importorskip("accelerate")
    from lm_eval.models.huggingface import HFLM

    import lmworks as lm
    from lmworks.evaluation.harness import Harness

    if which == "smollm2":
        request.getfixturevalue("smollm2_path")
        ours = lm.load("smollm2", dtype="float32")
    else:
        ours = tiny.language_model(seed=4, family="llama", context=512)
    folder = str(ours.save(tmp_path / "model"))
    peers = {size: HFLM(pretrained=folder, dtype="float32", device="cpu", batch_size=size) for size in (1, 7, 32)}
    for name in SETS:
        available(name)
        items = AskedTask.of(find(name), limit=int(os.environ.get("PARITY_ITEMS", "4"))).items
        task = its_task(name, items)
        task.build_all_requests(rank=0, world_size=1)
        requests = sorted(task.instances, key=lambda one: (one.doc_id, one.idx))
        found = Harness(ours).loglikelihood(requests)
        for peer in peers.values():
            theirs = peer.loglikelihood(requests, disable_tqdm=True)
            assert [one[0] for one in found] == pytest.approx([one[0] for one in theirs], abs=1e-3)
            assert [one[1] for one in found] == [bool(one[1]) for one in theirs]
            at = 0
            for item in items:
                ends = at + len(item.asked)
                assert _best(found[at:ends]) == _best(theirs[at:ends]), item.name
                at = ends


def _best(found):
    return max(range(len(found)), key=lambda at: found[at][0])
