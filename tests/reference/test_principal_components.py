"""Principal components beside scikit-learn's, whitened and not, signs included."""

from __future__ import annotations

import pytest
import torch
from later import Later

from lmworks.basics.errors import ConfigError
from lmworks.encoding.principal import principal_components

decomposition = Later("sklearn.decomposition")


@pytest.mark.parametrize("count", [1, 5, 24])
@pytest.mark.parametrize("whiten", [True, False])
def test_vectors_are_scikit_learns(count: int, whiten: bool):
    draw = torch.Generator().manual_seed(3)
    vectors = torch.randn(90, 24, generator=draw) @ torch.randn(24, 24, generator=draw) + 3
    others = torch.randn(7, 24, generator=draw)
    theirs = decomposition.PCA(count, whiten=whiten, svd_solver="full").fit(vectors.double().numpy())
    found = principal_components(vectors, count)
    expected = torch.from_numpy(theirs.transform(others.double().numpy())).float()
    torch.testing.assert_close(found.layer(whiten)(others), expected, rtol=1e-5, atol=1e-5)
    assert found.kept == pytest.approx(theirs.explained_variance_ratio_.sum(), rel=1e-9)
    torch.testing.assert_close(found.variances, torch.from_numpy(theirs.explained_variance_))
    if whiten:
        made = found.layer(True)(vectors)
        torch.testing.assert_close(made.T @ made / 89, torch.eye(count), rtol=1e-4, atol=1e-4)


def test_what_cannot_be_fitted_is_said():
    vectors = torch.randn(10, 4, generator=torch.Generator().manual_seed(0)) @ torch.ones(4, 1) @ torch.ones(1, 8)
    for given, count, said in (
        (vectors, 9, "dimensions is 9, and the vectors have 8"),
        (vectors[:3], 4, "4 dimensions are fitted on more than 4 texts, and there are 3"),
        (vectors, 2, "differ in 1 dimensions, and 2 are wanted"),
    ):
        with pytest.raises(ConfigError, match=said):
            principal_components(given, count)
