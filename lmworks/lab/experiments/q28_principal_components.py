"""Question 28: eigenvectors of the covariance, by which dimensions are cut, and what an index loses by that.

An encoder's vectors of paragraphs. Eigenvectors are fitted on the paragraphs of half the articles; variance, and the
search for the paragraph that a question is about, are judged on the other half.
"""

from __future__ import annotations

from lmworks.encoding.principal import principal_components
from lmworks.lab.bench.directions import Asked, encoder, foreign, kept, onto, random_directions
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Several, scaled

HIGHEST, LOWEST, RANDOM = Condition.named("highest eigenvalues", "lowest eigenvalues", "random directions")
ALL, WHITENED, FOREIGN = Condition.named("all dimensions", "highest, whitened", "highest, of other texts")
CUT = "cut"
"""What parts compare: as many dimensions as `dimensions` says."""
APART = Metric("largest difference of an eigenvalue and the variance along its eigenvector, as a share", ideal=0.0)
VARIANCE = Metric("share of other texts' variance", margin=0.02, ideal=1.0)
FOUND = Metric("questions whose paragraph is found first", margin=0.02, ideal=1.0)
SEARCHES = (Requirement("the encoder finds paragraphs", FOUND, ALL, above=0.5),)


@experiment(
    28,
    claim="Eigenvectors define principal directions in data, and eigenvalues indicate their variance; selecting "
    "eigenvectors with high eigenvalues reduces dimensionality while retaining the most important variance.",
    parts=(
        Part("an eigenvalue is the variance along its eigenvector", APART, HIGHEST, below=1e-6),
        Part(
            "those with the highest eigenvalues keep more of other texts' variance than random directions",
            *(VARIANCE, HIGHEST[CUT] - RANDOM[CUT]),
            above=0,
        ),
        Part("and more than those with the lowest", VARIANCE, HIGHEST[CUT] - LOWEST[CUT], above=0),
        Part(
            "what they keep matters: a search finds more than along random directions",
            *(FOUND, HIGHEST[CUT] - RANDOM[CUT]),
            above=0,
            needs=SEARCHES,
        ),
    ),
    also=(
        Part("a search finds as much as with all dimensions", FOUND, HIGHEST[CUT] - ALL, above=-0.02, needs=SEARCHES),
        Part("whitened it finds as much", FOUND, WHITENED[CUT] - HIGHEST[CUT], above=-0.02, needs=SEARCHES),
        Part(
            "eigenvectors of other texts do better than random directions",
            *(FOUND, FOREIGN[CUT] - RANDOM[CUT]),
            above=0,
            needs=SEARCHES,
        ),
    ),
    headlines={"yyyy": "The first eigenvectors keep more variance than others, and a search finds more by them."},
    picture=Lines(
        FOUND,
        of=(HIGHEST, WHITENED, FOREIGN, RANDOM, ALL),
        x="dimensions",
        title="Questions whose paragraph is found first, by dimensions",
        log_x=True,
    ),
    not_true_when="variance is not what the task needs: a search in a few of the first directions finds less than one "
    "in all of them, and whitening, which throws the eigenvalues away, may cost little",
    not_tested="the time of a search, which grows with the dimensions; encoders trained to be cut (Matryoshka)",
    note="MiniLM's 384 dimensions, before they are brought to length 1; a search goes by cosines of what is left. Each "
    "seed halves the articles in another way, and draws other random directions. Quick: XQuAD in English (240 "
    "paragraphs); full: half of SQuAD 2's development set. Other texts: paragraphs of WikiText-2.",
)
def principal(
    run: Run,
    asked: str = scaled("xquad-en", "squad2-half"),
    other: str = "wikitext2",
    others: Several = scaled(400, 1500),
    model: str = "minilm",
    dimensions: Several = 64,
    every: tuple[int, ...] = scaled((16, 32, 64), (8, 16, 32, 64, 128)),
) -> None:
    """Variance kept and paragraphs found, by how directions are chosen and how many they are."""
    embedder = encoder(model)
    known, apart = Asked.read(asked, embedder), foreign(embedder, other, others)
    dim = known.paragraphs.shape[1]
    for seed in run.seeds:
        fitted, judged = known.halves(seed)
        texts, held_out = known.paragraphs[fitted], known.paragraphs[judged]
        run.log(seed, ALL, {FOUND: known.found(judged)})
        for count in sorted({*every, dimensions}):
            found, theirs = principal_components(texts, count), principal_components(apart, count)
            drawn = random_directions(dim, count, seed)
            names = [count, CUT] if count == dimensions else [count]
            layers = {HIGHEST: found.layer(), WHITENED: found.layer(whiten=True), FOREIGN: theirs.layer()}
            right = {one: known.found(judged, layer) for one, layer in (layers | {RANDOM: onto(drawn)}).items()}
            for name in names:
                for condition, share in right.items():
                    run.log(seed, condition[name], {FOUND: share})
                run.log(seed, HIGHEST[name], {VARIANCE: kept(found.components, held_out)})
                run.log(seed, RANDOM[name], {VARIANCE: kept(drawn, held_out)})
        whole = principal_components(texts, min(len(texts) - 1, dim))
        lowest = whole.components[-dimensions:]
        run.log(seed, LOWEST[CUT], {VARIANCE: kept(lowest, held_out)})
        along = (texts.double() - whole.mean) @ whole.components.T
        differences = (along.var(0) / whole.variances - 1).abs()
        run.log(seed, HIGHEST, {APART: float(differences.max())})
