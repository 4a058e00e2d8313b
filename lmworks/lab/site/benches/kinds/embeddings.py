"""Words as vectors: neighbours in all dimensions first, then the plane that keeps the most variance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmworks.lab.site.benches.declaration import Bench, Control, Example, StaticTable

if TYPE_CHECKING:
    from lmworks.lab.site.words import Words

LISTED = """
cat dog horse cow lion tiger mouse rat whale shark eagle sparrow apple banana orange bread cheese butter soup coffee
tea wine water river lake sea mountain valley forest desert car truck bus train bicycle ship plane house castle church
school hospital prison teacher doctor nurse judge farmer soldier king queen prince mother father sister brother child
red blue green yellow black white happy sad angry afraid calm run walk swim fly think know believe Paris London Berlin
Rome France England Germany Italy January March July Monday Friday piano violin guitar football tennis chess book
letter poem newspaper bank money loan winter summer rain snow wind sun moon star planet
"""
WORDS = tuple(LISTED.split())
NEAREST = 8


def _example() -> Example:
    """Each word's nearest in all dimensions, its place in the plane, and the variance of the first components."""
    import torch

    from lmworks.encoding.principal import principal_components
    from lmworks.loading import load

    vectors = torch.nn.functional.normalize(load("minilm").embed(list(WORDS)).float(), dim=1)
    alike = vectors @ vectors.T
    best = alike.fill_diagonal_(-2).topk(NEAREST, dim=1)
    found = principal_components(vectors, 50)
    plane = (vectors.double() - found.mean) @ found.components[:2].T
    shares = (found.variances / found.total).tolist()
    return {
        "words": WORDS,
        "dimensions": vectors.shape[1],
        "nearest": best.indices.tolist(),
        "cosines": [[round(one, 3) for one in row] for row in best.values.tolist()],
        "places": [[round(one, 3) for one in row] for row in plane.tolist()],
        "shares": [round(one, 4) for one in shares],
    }


def _table(example: Example, words: Words) -> StaticTable:
    say = words.group("bench_embeddings")
    at = example["words"].index("king")
    rows = [
        (example["words"][other], f"{cosine:.2f}")
        for other, cosine in zip(example["nearest"][at], example["cosines"][at], strict=True)
    ]
    return StaticTable(say["full"].format(word="king", n=example["dimensions"]), (say["word"], say["cosine"]), rows)


BENCH = Bench(
    "embeddings",
    claims=(10, 28),
    scripts=("embeddings.js",),
    controls=(Control("word", "choice", "king", choices=tuple(sorted(WORDS, key=str.lower))),),
    example=_example,
    table=_table,
)
