"""Question 3: what a larger context window brings, and what it costs.

A real decoder predicts the same ends of real texts with more and more of them before it, is asked for facts that stand
anywhere in a text, and is timed on prompts and on single tokens that follow texts of growing length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError
from lmworks.lab.bench.context_windows import CITIES, ByWindow, bits, cost, told
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Several, scaled
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.text.document import Document
from lmworks.text.sources import read

SHORTEST, STEP = 64, 4
"""Tokens of the smallest window; each further window is this many times as large."""
WINDOW, SMALLEST, BEFORE, LARGEST = Condition.named(
    "window", "the smallest window", "a window 4 times smaller", "the largest window"
)
BITS = Metric("text after the window", "bits/byte", margin=0.02)
TOLD = Metric("facts told", margin=0.02, chance=1 / len(CITIES), ideal=1)
PROMPT = Metric("time to read a full window", "ms")
EACH = Metric("time to read a token of it", "ms")
TOKEN = Metric("time of one further token", "ms")
MEMORY = Metric("keys and values of a full window", "MB")


@experiment(
    3,
    claim="The context window is the number of tokens that a model can process at once, its memory for a single task; "
    "a larger one lets it consider more context, which improves coherence in long-form tasks, and larger windows "
    "increase computational costs.",
    parts=(
        Part("with a larger window text is predicted better", BITS, LARGEST - SMALLEST, below=0),
        Part("facts are told that a smaller window has lost", TOLD, LARGEST - SMALLEST, above=0),
        Part("a larger window takes longer to read", PROMPT, LARGEST / SMALLEST, above=1),
        Part("each further token takes longer, too", TOKEN, LARGEST / SMALLEST, above=1),
        Part("and more memory is taken", MEMORY, LARGEST / SMALLEST, above=1),
    ),
    also=(
        Part("the last growth by 4 still helps prediction", BITS, LARGEST - BEFORE, below=0),
        Part("the last growth by 4 still helps to tell facts", TOLD, LARGEST - BEFORE, above=0),
        Part("most facts in the largest window are told", TOLD, LARGEST, above=0.5),
        Part("each token of a larger window takes longer to read", EACH, LARGEST / SMALLEST, above=1),
    ),
    picture=Lines(BITS, of=(WINDOW,), x="tokens before the text", title="Prediction by the window", log_x=True),
    not_true_when="the window stands empty: costs are those of what is read",
    headlines={
        "yyyyy": "Yes: a larger window predicts text better, keeps facts that a smaller one has lost, and costs more "
        "time and memory."
    },
    not_tested="coherence itself, and summaries; prediction and facts stand for the use of more context",
    note="Every window predicts the same tokens, the ends of pieces of real articles: bits by position would mix what "
    "a window brings with what stands where. Facts (the secret word of a city, eight to a text, evenly spread, one "
    "asked for) are told when the right word is the likeliest of the eight. Intervals are over articles, of times over "
    "rounds; prompts are read 512 tokens at once. A model trained for longer texts may gain more; facts lost in the "
    "middle are known of larger models (Liu et al. 2023, https://arxiv.org/abs/2307.03172).",
)
def window(
    run: Run,
    model: str = "smollm2",
    text: str = "wikitext2",
    longest: Several = scaled(1024, 4096),
    target: Several = scaled(64, 128),
    texts: Several = scaled(8, 24),
    questions: Several = scaled(16, 40),
    rounds: Several = scaled(3, 6),
) -> None:
    """Bits per byte of the same text by window; facts told by window; time and memory by length."""
    chosen = load(model)
    sizes = [size for power in range(8) if (size := SHORTEST * STEP**power) <= longest]
    if len(sizes) < 2 or sizes[-1] != longest or longest + target > chosen.config.context:
        raise ConfigError(
            f"longest is {longest}; give {SHORTEST} times a power of {STEP} that leaves room for {target} tokens in "
            f"the model's window of {chosen.config.context:,}"
        )
    documents = sorted(read(text).documents, key=lambda one: -len(one.text))
    for fixed in run.once():
        _log_documents(run, fixed, BITS, bits(chosen, documents[:texts], sizes, target))
        _log_documents(run, fixed, TOLD, told(chosen, documents[:questions], sizes))
        _log_costs(run, fixed, chosen, documents[0], sizes, rounds)


def _names(sizes: Sequence[int]) -> Iterator[tuple[Condition, int]]:
    """The conditions of each window: its size, and its name where it has one."""
    yield from ((WINDOW[size], size) for size in sizes)
    yield from ((SMALLEST, sizes[0]), (BEFORE, sizes[-2]), (LARGEST, sizes[-1]))


def _log_documents(run: Run, fixed: None, metric: Metric, found: ByWindow) -> None:
    for condition, size in _names(list(found)):
        run.log(fixed, condition, {metric: list(found[size].values())}, list(found[size]))


def _log_costs(
    run: Run, fixed: None, model: LanguageModel, document: Document, sizes: Sequence[int], rounds: int
) -> None:
    """Time to read a window and of a token after it, in each round, and the memory of keys and values."""
    ids = model.tokenizer.encode(document.text, special=False)
    taken: dict[int, list[tuple[float, float, float]]] = {size: [] for size in sizes}
    cost(model, ids[: sizes[0]])  # the first call makes ready what the others find
    with progress.task("time by length", rounds, "rounds") as advance:
        for _ in range(rounds):
            for size in sizes:
                taken[size].append(cost(model, ids[:size]))
            advance(1)
    for condition, size in _names(sizes):
        prompt, token, held = zip(*taken[size], strict=True)
        times = {
            PROMPT: [1000 * one for one in prompt],
            EACH: [1000 * one / size for one in prompt],
            TOKEN: [1000 * one for one in token],
        }
        run.log(fixed, condition, times, [f"round {at}" for at in range(rounds)])
        run.log(fixed, condition, {MEMORY: held[0] / 2**20})
