"""Question 12: top-k keeps a fixed number of candidates, top-p a number that adapts.

First how many tokens each filter keeps, by how uncertain the model is at that step of a real text. Then what is written
with them: beside text from the whole distribution, and beside each other at the threshold where both leave the same
entropy on average.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lmworks.basics import progress
from lmworks.basics.arrays import Float
from lmworks.generation.filters.min_p import MIN_P
from lmworks.generation.filters.top_k import TOP_K
from lmworks.generation.filters.top_p import TOP_P
from lmworks.generation.strategies import Sample
from lmworks.lab.bench.continuations import (
    GAP,
    REPEATS,
    SURPRISE,
    VARIETY,
    excerpts_by_document,
    look,
    summed,
    written,
)
from lmworks.lab.bench.step_distributions import distributions, entropy, matching_p
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.language_model import LanguageModel
from lmworks.text.document import Document
from lmworks.text.sources import read

Filter = Callable[[Float[np.ndarray, " vocab"]], Float[np.ndarray, " vocab"]]

K, P, MIN, P_MATCHED, WHOLE = Condition.named(
    "top-k", "top-p", "min-p", "top-p at equal entropy", "the whole distribution"
)
KEPT = Metric("tokens kept")
ENTROPY = Metric("entropy of a step", "bits")
SURE, UNSURE = "most certain tenth", "least certain tenth"
PROMPT_TOKENS = 32
CHOOSING = 6
"""One document in this many chooses the p that leaves as much entropy as top-k; the others judge."""


@experiment(
    12,
    claim="Top-k selects from the k most probable tokens, for controlled diversity; top-p chooses tokens whose "
    "cumulative probability exceeds p (0.95) and adapts to the distribution.",
    parts=(
        Part("top-k keeps as many tokens however certain the model is", KEPT, K[UNSURE] / K[SURE], between=(0.9, 1.1)),
        Part("top-p keeps more where the model is less certain", KEPT, P[UNSURE] / P[SURE], above=1, margin=0.1),
        Part("top-k holds diversity down: its text varies less than unfiltered text", VARIETY, K - WHOLE, below=0),
    ),
    also=(
        Part("min-p keeps more where the model is less certain", KEPT, MIN[UNSURE] / MIN[SURE], above=1, margin=0.1),
        Part("at equal entropy top-p writes closer to people than top-k", GAP, P_MATCHED - K, below=0),
        Part("at equal entropy top-p writes more varied text", VARIETY, P_MATCHED - K, above=0),
        Part("at equal entropy top-p repeats itself less", REPEATS, P_MATCHED - K, below=0),
        Part("at equal entropy top-p writes less likely text", SURPRISE, P_MATCHED - K, above=0),
    ),
    picture=Lines(KEPT, of=(K, P, MIN), x="entropy of the step, bits", title="Tokens kept", log_y=True),
    not_tested="whether readers prefer the one or the other",
    headlines={"yyy": "Top-k keeps 40 tokens whatever comes; top-p one where the model is sure, or thousands."},
    note="One decoder; the interval is over documents. How many tokens a "
    "filter keeps follows from its definition; the last part and the lines at equal entropy are about what it writes. "
    "Equal entropy: the p that leaves as much as top-k on average, chosen on other documents. Top-p keeps the fewest "
    "tokens that reach p, the one that crosses it included (Holtzman et al. 2019, https://arxiv.org/abs/1904.09751, "
    "section 3.1). Distance to people: in surprise, distinct tokens and distinct pairs.",
)
def candidates(
    run: Run,
    model: str = "smollm2",
    text: str = "wikitext2",
    documents: Several = scaled(18, 60),
    steps: Several = scaled(20, 200),
    top_k: Count = 40,
    top_p: float = 0.95,
    min_p: float = 0.05,
    pieces: Count = scaled(1, 4),
    length: Several = scaled(32, 64),
) -> None:
    """Tokens that each filter keeps by the step's entropy; what is written with each and without."""
    filters: dict[Condition, Filter] = {
        K: lambda p: TOP_K.applied(p, top_k=top_k),
        P: lambda p: TOP_P.applied(p, top_p=top_p),
        MIN: lambda p: MIN_P.applied(p, min_p=min_p),
    }
    writer, texts = LanguageModel.load(model), read(text).documents[:documents]
    judged = [one for at, one in enumerate(texts) if at % CHOOSING]
    for fixed in run.once():
        _log_kept(run, fixed, writer, judged, filters, steps)
        matched = matching_p(list(distributions(writer, texts[::CHOOSING], steps).values()), top_k)
        ways = {K: Sample(top_k=top_k), P_MATCHED: Sample(top_p=matched), WHOLE: Sample()}
        asked = excerpts_by_document(writer, judged, pieces, PROMPT_TOKENS, length)
        with progress.task("sampling", len(ways), "filters") as advance:
            for condition, strategy in ways.items():
                values, items = look(written(writer, asked, strategy, length), asked)
                run.log(fixed, condition, values, items)
                advance(1)


def _log_kept(
    run: Run,
    fixed: None,
    model: LanguageModel,
    documents: Sequence[Document],
    filters: dict[Condition, Filter],
    steps: int,
) -> None:
    """Tokens kept by document: in the most and the least certain tenth of steps, and by whole bits of entropy."""
    rows = distributions(model, documents, steps)
    names = np.array([name for name, each in rows.items() for _ in each])
    spread = [p for each in rows.values() for p in each]
    entropies = np.array([entropy(p) for p in spread])
    low, high = np.quantile(entropies, (0.1, 0.9))
    places: dict[str | int, Any] = {SURE: entropies <= low, UNSURE: entropies >= high}
    places |= {int(bits): np.floor(entropies) == bits for bits in sorted(set(np.floor(entropies)))}
    with progress.task("filtering", len(filters), "filters") as advance:
        for condition, keep in filters.items():
            kept = np.array([float(np.count_nonzero(keep(p))) for p in spread])
            for ending, here in places.items():
                counts = summed([[one, 1.0] for one in kept[here]], names[here])
                run.log(fixed, condition[ending], {KEPT: counts}, list(dict.fromkeys(names[here])))
            advance(1)
    for ending in (SURE, UNSURE):
        run.log(fixed, ending, {ENTROPY: float(entropies[places[ending]].mean())})
