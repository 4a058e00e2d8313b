"""What is compiled gives the numbers of numpy, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from lmworks.grounding import loops
from lmworks.grounding.matrix import Matrix, packed
from lmworks.grounding.postings import ROW
from lmworks.grounding.scores import best


@pytest.fixture
def compiled(monkeypatch):
    """Switch to the compiled loops."""
    pytest.importorskip("numba", reason="pip install 'lmworks[fast]'")
    return lambda: monkeypatch.setattr(loops, "WORTH", -1)


@pytest.mark.parametrize("dim", [32, 384, 1536])
def test_products(dim: int, compiled, tmp_path, monkeypatch):
    """1536 dimensions add up to more than float32 holds exactly."""
    draw = np.random.default_rng(0)
    vectors = draw.standard_normal((1300, dim)).astype(np.float32)
    vectors[5] = 1.0  # all 127: the largest sum
    matrix = Matrix(tmp_path / "vectors.i8", dim)
    matrix.write(dict(enumerate(vectors)))
    plain = matrix.scores(vectors[5])
    exact = np.stack([packed(one)["entries"].astype(np.int64) for one in vectors]) @ np.full(dim, 127)
    scales = np.array([packed(one)["scale"] for one in vectors]).astype(np.float64)
    assert np.array_equal(plain, exact * scales * float(packed(vectors[5])["scale"]))
    compiled()
    assert np.array_equal(matrix.scores(vectors[5]), plain)
    monkeypatch.setattr(loops, "APART", 400)
    monkeypatch.setattr(loops, "usable_cores", lambda: 3)
    assert np.array_equal(matrix.scores(vectors[5]), plain)  # 434, 434 and 432 rows, each in a thread


def test_a_matrix_that_is_kept_follows_its_file(tmp_path):
    """It stays mapped: what is written into the file, added to it, or put in its place counts at once."""
    draw, path = np.random.default_rng(0), tmp_path / "vectors.i8"
    vectors = draw.standard_normal((3, 32)).astype(np.float32)
    kept = Matrix(path, 32)
    for rows in ({0: vectors[0]}, {0: vectors[1]}, {1: vectors[2]}):
        Matrix(path, 32).write(rows)
        assert np.array_equal(kept.scores(vectors[0]), Matrix(path, 32).scores(vectors[0]))
    Matrix(tmp_path / "other.i8", 32).write({0: vectors[2], 1: vectors[1]})
    (tmp_path / "other.i8").replace(path)
    assert np.array_equal(kept.scores(vectors[0]), Matrix(path, 32).scores(vectors[0]))


def test_terms(compiled):
    draw = np.random.default_rng(1)
    rows = np.zeros(3000, ROW)
    rows["chunk"], rows["count"] = np.sort(draw.permutation(8192)[:3000]), draw.integers(1, 9, 3000)
    norms, plain = draw.random(8192), draw.random(8192)
    other = plain.copy()
    loops.add_term(rows["chunk"], rows["count"], norms, 1.7, plain)
    compiled()
    loops.add_term(rows["chunk"], rows["count"], norms, 1.7, other)
    assert np.array_equal(plain, other)


@pytest.mark.parametrize("size", [1, 7, 255, 256, 5000])
@pytest.mark.parametrize("values", [2, 40, 10**9])
def test_the_best_are_those_of_sorting_with_all_that_equal_the_last(size: int, values: int):
    scores = np.random.default_rng(size).integers(0, values, size).astype(np.float64)
    for k in (1, 3, 20, 300):
        least = np.sort(scores)[-min(k, size)]
        assert sorted(best(scores, k)) == np.flatnonzero(scores >= least).tolist()
