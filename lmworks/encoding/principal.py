"""Principal components of vectors: the directions in which they differ most, to keep few dimensions of many; whitened,
each direction counts alike.

    found = principal_components(vectors, 128)      # of [texts, dim]
    found.layer(whiten=False)(vectors)              # [texts, 128]

Values equal scikit-learn's PCA (full SVD), signs included: the largest number of each component is positive.
Sources: Hotelling 1933; whitening of sentences' vectors: Su et al. 2021, https://arxiv.org/abs/2103.15316.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.encoding.dense import Dense

FLAT = 1e-10
"""A direction with less than this share of the variance of the first is rounding."""


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """Those with the most variance, the largest first; in float64."""

    mean: Float[Tensor, " dim"]
    components: Float[Tensor, "count dim"]
    """Of length 1, each at right angles to the others: eigenvectors of the covariance."""
    variances: Float[Tensor, " count"]
    """Its eigenvalues: the variance along each."""
    total: float
    """The variance in all dimensions together."""

    @property
    def kept(self) -> float:
        """The share of the variance that they keep."""
        return float(self.variances.sum()) / self.total

    def layer(self, whiten: bool = False) -> Dense:
        """The linear layer that leaves these dimensions; `whiten` divides each by its standard deviation."""
        weight = self.components / self.variances.sqrt()[:, None] if whiten else self.components
        return Dense(weight.float(), -(weight @ self.mean).float(), "torch.nn.modules.linear.Identity")


def principal_components(vectors: Float[Tensor, "texts dim"], count: int) -> PrincipalComponents:
    """The first `count` of some vectors. ConfigError for more than there are dimensions in which they differ."""
    texts, dim = vectors.shape
    if not 1 <= count <= dim:
        raise ConfigError(f"dimensions is {count}, and the vectors have {dim}; give 1 to {dim}")
    if texts <= count:
        raise ConfigError(f"{count} dimensions are fitted on more than {count} texts, and there are {texts}; give more")
    exact = vectors.double()
    mean = exact.mean(0)
    centred = exact - mean
    variances, vectors_ = torch.linalg.eigh(centred.T @ centred / (texts - 1))
    variances, components = variances.flip(0).clamp_min(0), vectors_.flip(1).T
    found = int((variances > FLAT * variances[0]).sum())
    if found < count:
        raise ConfigError(f"the texts' vectors differ in {found} dimensions, and {count} are wanted; give more texts")
    components = components[:count]
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    return PrincipalComponents(mean, components * largest.sign(), variances[:count], float(variances.sum()))
