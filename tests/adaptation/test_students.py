"""Students that begin as a part of their teacher, and the teacher's predictions on disk."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from full_disk import full_disk

from lmworks.adaptation.distillation import cache
from lmworks.adaptation.distillation.cache import Lessons, TaughtRows, lessons_folder
from lmworks.adaptation.distillation.student import kept_layers, narrower, shallower
from lmworks.basics.errors import ConfigError, LmworksError
from lmworks.language_model import LanguageModel
from lmworks.models.network import Network
from lmworks.tokens.batch import Example, Row, pack
from lmworks.tokens.labels import IGNORE


def rows(count: int = 6, vocab: int = 96) -> list[Row]:
    """Rows of two documents each, of which some tokens carry no loss."""
    texts = [tiny.text(1, 5 + 3 * number, vocab, seed=number)[0].tolist() for number in range(2 * count)]
    return pack([Example(one, [False, False] + [True] * (len(one) - 2), "random") for one in texts], 40, seed=0)


@pytest.fixture
def teacher() -> LanguageModel:
    return tiny.language_model(1)


def test_both_ends_stay():
    assert kept_layers(30, 15) == [*range(8), *range(23, 30)]
    assert kept_layers(4, 2) == [0, 3] and kept_layers(4, 1) == [0]


@pytest.mark.parametrize("settings", [{}, {"tied": False}, {"family": "lmworks", "window": 4, "window_layers": (1, 3)}])
def test_a_shallower_student_computes_what_is_left_of_its_teacher(settings: dict):
    network, tokens = tiny.network(layers=5, **settings), tiny.text(2, 20)
    student = shallower(network, 3)
    left = tiny.network(layers=5, **settings)
    if settings.get("window"):
        assert student.config.window_layers == (1,)
        left = Network(left.config.but(layers=3, window_layers=(1,)))
        tiny.randomise(left)
        left.load_state_dict(student.state_dict())
    else:
        left.blocks = torch.nn.ModuleList([left.blocks[0], left.blocks[1], left.blocks[4]])
    torch.testing.assert_close(student(tokens), left(tokens))
    with torch.no_grad():
        before = network(tokens)
        next(iter(student.parameters())).zero_()
    torch.testing.assert_close(network(tokens), before)  # the teacher keeps weights of its own


@pytest.mark.parametrize("gated", [True, False])
def test_a_narrower_student_keeps_the_units_that_weigh_most(gated: bool):
    network, tokens = tiny.network(family="lmworks", gated=gated), tiny.text(2, 20)
    with torch.no_grad():
        for block in network.blocks:
            block.feed_forward.down.weight[:, ::3] = 0
    student = narrower(network, 32)  # of 48, every third of which does nothing
    assert student.config.hidden_dim == 32
    torch.testing.assert_close(student(tokens), network(tokens))


def test_a_part_that_the_teacher_has_not_is_refused():
    network = tiny.network()
    with pytest.raises(ConfigError, match=r"layers is 4, and the teacher has 2; .* keeps 1 of them"):
        shallower(network, 4)
    with pytest.raises(ConfigError, match=r"hidden_dim is 48, and the teacher's is 48"):
        narrower(network, 48)


def test_samples_are_those_of_the_teachers_own_predictions_at_the_same_tokens(teacher: LanguageModel, tmp_path: Path):
    """Pitfall 11 of distilling: of the teacher's own ids, each document read alone, each token where it stands."""
    every, size = rows(), teacher.config.vocab_size
    lessons = Lessons(tmp_path / "kept", every, size, samples=512)
    lessons.complete(teacher, temperature=1.5)
    batch = TaughtRows(every, lessons).batch([2, 0, 1])
    assert batch.taught is not None
    with torch.no_grad():
        likely = (teacher.network(batch.tokens, documents=batch.documents) / 1.5).softmax(-1)
    counts = torch.zeros(*batch.labels.shape, size).scatter_(-1, batch.taught.ids.long(), 1.0, reduce="add")
    at = batch.labels != IGNORE
    assert at.any() and not at.all()
    assert (counts[at] - 512 * likely[at]).abs().max() < 1.01
    entropy = torch.distributions.Categorical(likely[at]).entropy()
    torch.testing.assert_close(batch.taught.entropy[at], entropy, rtol=1e-4, atol=1e-4)


def contents(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in sorted(folder.glob("*.npy"))}


def test_what_was_stopped_goes_on_and_is_the_same(
    teacher: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cache, "PART_TOKENS", 40)
    lessons = Lessons(tmp_path / "kept", rows(), teacher.config.vocab_size, samples=8)
    assert lessons.complete(teacher, 1.0) == lessons.tokens
    whole = contents(lessons.folder)
    assert len(whole) > 3 and sum(map(len, whole.values())) < lessons.bytes + 300 * len(whole)
    (lessons.folder / "00001.npy").unlink()
    (lessons.folder / "00002.npy").write_bytes(whole["00002.npy"][:-3])
    np.save(lessons.folder / "00000.npy", np.load(lessons.folder / "00000.npy")[:-1])
    again = Lessons(lessons.folder, rows(), teacher.config.vocab_size, samples=8)
    assert 0 < again.complete(teacher, 1.0) < lessons.tokens and contents(lessons.folder) == whole
    assert again.complete(teacher, 1.0) == 0
    every = np.concatenate([again.of(row) for row in range(len(again.rows))])
    assert len(every) == lessons.tokens


def test_a_full_disk_is_one_sentence_and_leaves_whole_parts(
    teacher: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cache, "PART_TOKENS", 40)
    every = rows()[::-1]  # the last part is the largest
    lessons = Lessons(tmp_path / "kept", every, teacher.config.vocab_size, samples=64)
    most = max(lessons._sizes[:1]) * lessons.dtype.itemsize + 200
    with full_disk(most), pytest.raises(LmworksError, match=r"\.npy: the disk is full") as caught:
        lessons.complete(teacher, 1.0)
    assert "\n" not in str(caught.value)
    kept = contents(lessons.folder)
    assert 0 < len(kept) < len(lessons._sizes) and len(list(lessons.folder.iterdir())) == len(kept)
    assert lessons.complete(teacher, 1.0) < lessons.tokens
    assert kept.items() <= contents(lessons.folder).items()


def test_more_than_the_limit_or_the_disk_holds_is_told_before_the_teacher_is_asked(tmp_path: Path):
    lessons = Lessons(tmp_path / "kept", rows(), 96, samples=64)
    with pytest.raises(ConfigError, match=r"cache_mb is 0, and what the teacher says of \d+ tokens takes 0 MB"):
        lessons.must_fit(1000)
    lessons.tokens = 2**50
    with pytest.raises(ConfigError, match=r"MB are free; free some space"):
        lessons.must_fit(1e20)


def test_the_cache_is_named_by_all_that_it_depends_on_and_the_oldest_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LMWORKS_CACHE", str(tmp_path))
    every, facts = rows(), {"teacher": "a", "tokenizer": "b", "temperature": 1.0, "samples": 64}
    folders = [lessons_folder(facts, every, 1e9)]
    assert lessons_folder(facts, every, 1e9) == folders[0]
    for name, value in {"teacher": "c", "tokenizer": "c", "temperature": 2.0, "samples": 32}.items():
        folders.append(lessons_folder(facts | {name: value}, every, 1e9))
    changed = [*every[:-1], tuple(Example(one.tokens, [False] * 3 + one.supervised[3:], "") for one in every[-1])]
    folders += [lessons_folder(facts, every[::-1], 1e9), lessons_folder(facts, changed, 1e9)]
    assert len(set(folders)) == 7 and all(one.is_dir() for one in folders)
    for age, one in enumerate(folders):
        (one / "00000.npy").write_bytes(bytes(1000))
        os.utime(one, (age, age))
    assert lessons_folder(facts, every, 3500) == folders[0]
    assert [one for one in folders if one.is_dir()] == [folders[0], folders[6]]
