"""Question 8: sequence to sequence, a transformer and an LSTM with attention, on pairs whose lengths differ.

Small translators write every sentence of a test text. How good is what they write where source and target differ in
length, and where the source is long? Does its length follow the sentence, or a fixed ratio? And where do they look:
words that are the same in both languages ("Baseball") say which source word belongs to which target word, without
anybody having aligned them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from jaxtyping import Float
from torch import Tensor

from lmworks.evaluation.answers import whole_answers
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.statistics import spearman
from lmworks.generation.strategies import Greedy
from lmworks.lab.bench.translators import CONTEXT, LSTM, TRANSFORMER, copied, pairs_of, quality, translation, translator
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.language_model import LanguageModel
from lmworks.models.hooks import hook_points, hooked
from lmworks.models.network import Network
from lmworks.tokens.source import target_ids, target_start
from lmworks.tokens.tokenizer import Tokenizer

KINDS = (TRANSFORMER, LSTM)
THIRDS = ("short sources", "middle sources", "long sources")
EQUAL, UNEQUAL = "targets as long as the source", "targets longer or shorter by two words or more"
APART = 2
"""Words that a target is longer or shorter by, at least, in the second of these."""
BLEU, CHRF, RATIO = "BLEU", "chrF", "length ratio"
FOLLOWS = "rank correlation of written and wanted length, both over the source's"
ALIGNED, DIAGONAL, OTHER = "words whose own source word is looked at most", "the diagonal", "another sentence"
LETTERS = 4
"""Letters that a word has at least, so that being the same in both languages means something."""

LEAST = 0.1
"""BLEU that another is divided by, at least."""

Pair = tuple[str, str]


@experiment(
    question=8,
    claim="Seq2Seq models transform an input sequence into an output sequence, often of different lengths: an encoder "
    "processes the input and a decoder generates the output.",
    rule=Rule(
        holds_if=(
            *(Check(f"{BLEU}, {UNEQUAL}, {kind}, over {EQUAL}", ">", 0.75) for kind in KINDS),
            *(Check(f"{FOLLOWS}, {kind}", ">", 0) for kind in KINDS),
            *(Check(f"{ALIGNED}, {kind} minus {DIAGONAL}", ">", 0) for kind in KINDS),
        ),
        only_if=(
            *(
                (
                    Check(f"{BLEU}, {THIRDS[2]}, {kind}, over {THIRDS[0]}", ">", 0.75),
                    f"sources are short: the {kind} loses more than a quarter of its BLEU on the longest third",
                )
                for kind in KINDS
            ),
        ),
    ),
)
def sequence_to_sequence(
    pairs: Several = scaled(3000, 29_000),
    epochs: Count = scaled(1, 2),
    judged: str = scaled("multi30k-validation-en-de", "multi30k-test2016-en-de"),
    sentences: Several = scaled(200, 1000),
    seeds: Count = 3,
) -> Observation:
    """BLEU by length, what decides the length written, and where the attention looks."""
    asked = pairs_of(judged, sentences)
    groups = _groups(asked)
    chance = {name: copied([asked[at] for at in places]) for name, places in groups.items()}
    found: dict[str, dict[str, dict[int, float]]] = {kind: {} for kind in KINDS}
    for seed in range(seeds):
        for kind in KINDS:
            model = translator(translation(kind, epochs=epochs, seed=seed), pairs)
            for name, value in _seen(model, asked, groups).items():
                found[kind].setdefault(name, {})[seed] = value
    return Observation(
        measurements=tuple(_measurements(found, chance)), chart=_chart(found), note=f"{_facts(asked, groups)} {NOTE}"
    )


NOTE = (
    "Lengths are words between spaces. Both kinds read the same pairs equally often, with as many operations a pair; "
    "answers are greedy. BLEU of a group is of that group alone. Who keeps to one ratio would have a rank correlation "
    "of 0 between the length written and the length wanted, both divided by the source's. Alignment: a word of at "
    "least four letters that stands once in the source and once in its reference, capitals aside, belongs together; "
    "the network reads the source and the reference up to that word, and its attention (the mean of the heads of one "
    "layer, the layer that is best on validation text) is summed over the tokens of each source word. The diagonal is "
    "the word at the same share of the sentence. With another sentence's source there is nothing to find, and what is "
    "left is what positions give away. Attention that finds a word does not prove that it is what the network uses "
    "(Jain & Wallace 2019, https://arxiv.org/abs/1902.10186). An LSTM's states carry what they read before: one that "
    "translates well (ten epochs, BLEU 33) looks at the word before the wanted one at 247 of 304 words (docs/log.md), "
    "where Koehn & Knowles 2017 saw such a shift too (https://arxiv.org/abs/1706.03872, section 3.5)."
)


def _words(text: str) -> list[str]:
    return text.split()


def _groups(asked: Sequence[Pair]) -> dict[str, list[int]]:
    """Places of pairs by the length of the source, and by whether the target's differs."""
    sizes = [(len(_words(source)), len(_words(target))) for source, target in asked]
    order = sorted(range(len(asked)), key=lambda at: sizes[at][0])
    cuts = [round(len(order) * third / len(THIRDS)) for third in range(len(THIRDS) + 1)]
    thirds = {name: sorted(order[cuts[at] : cuts[at + 1]]) for at, name in enumerate(THIRDS)}
    apart = [abs(source - target) for source, target in sizes]
    return {
        "": list(range(len(asked))),
        **thirds,
        EQUAL: [at for at, one in enumerate(apart) if not one],
        UNEQUAL: [at for at, one in enumerate(apart) if one >= APART],
    }


def _seen(model: LanguageModel, asked: Sequence[Pair], groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Every figure of one translator."""
    answers = whole_answers(model, [source for source, _ in asked], Greedy(), CONTEXT - 2)
    found: dict[str, float] = {}
    for name, places in groups.items():
        figures = quality([answers[at] for at in places], [asked[at] for at in places])
        found |= {f"{figure}, {name}" if name else figure: value for figure, value in figures.items()}
    written, wanted = (
        [len(_words(text)) / len(_words(source)) for text, (source, _) in zip(texts, asked, strict=True)]
        for texts in ([str(answer) for answer in answers], [target for _, target in asked])
    )
    # Who writes the same share for every source follows none.
    found[FOLLOWS] = spearman(written, wanted).value if len(set(written)) > 1 else 0.0
    return found | alignment(model, asked)


@dataclass(frozen=True)
class Anchor:
    """A word that is the same in source and target."""

    pair: int
    source_word: int
    target_word: int
    source_words: int
    target_words: int

    @property
    def diagonal(self) -> int:
        """The source word at the same share of the sentence."""
        if self.target_words == 1:
            return 0
        return round(self.target_word * (self.source_words - 1) / (self.target_words - 1))


def anchors(asked: Sequence[Pair]) -> list[Anchor]:
    """The words of pairs that are the same in both languages and stand once on each side."""
    found = []
    for number, texts in enumerate(asked):
        source, target = ([word.strip(".,!?\"'()").lower() for word in _words(text)] for text in texts)
        for at, word in enumerate(source):
            if len(word) >= LETTERS and source.count(word) == target.count(word) == 1:
                found.append(Anchor(number, at, target.index(word), len(source), len(target)))
    return found


def alignment(model: LanguageModel, asked: Sequence[Pair]) -> dict[str, float]:
    """The share of anchors whose own source word gets the most attention; the same for the diagonal, and with the
    source of another sentence."""
    chosen = pairs_of("multi30k-validation-en-de", 300)
    layer = max(_layers(model.network), key=lambda one: _hits(model, chosen, anchors(chosen), one))
    found = anchors(asked)
    return {
        ALIGNED: _hits(model, asked, found, layer),
        f"{ALIGNED}, {DIAGONAL}": fmean(one.source_word == one.diagonal for one in found),
        f"{ALIGNED}, {OTHER}": _hits(model, asked, found, layer, shift=1),
    }


def _layers(network: Network) -> list[str]:
    """The hook paths of attention to the source."""
    return [path for path in hook_points(network) if path.endswith("cross_attention.pattern")]


def _hits(model: LanguageModel, asked: Sequence[Pair], found: Sequence[Anchor], layer: str, shift: int = 0) -> float:
    right = 0
    for one in found:
        _, target = asked[one.pair]
        source, _ = asked[(one.pair + shift) % len(asked)]
        looked = word_attention(model, source, target, one.target_word, layer)
        right += int(looked.argmax()) == one.source_word
    return right / len(found)


@torch.inference_mode()
def word_attention(
    model: LanguageModel, source: str, target: str, word: int, layer: str
) -> Float[Tensor, " source_words"]:
    """How much attention each word of a source gets when the first token of a target's word is predicted."""
    tokenizer, network = model.tokenizer, model.network
    first = _word_of_token(tokenizer, target).index(word)
    ids = [target_start(tokenizer), *target_ids(tokenizer, target)]
    seen: list[Tensor] = []
    with hooked(network, {layer: seen.append}):
        memory = network.encode(torch.tensor([model.encode_prompt(source)]))
        network.hidden(torch.tensor([ids[: first + 1]]), memory=memory)
    weights = seen[-1][0, :, -1].mean(dim=0)
    words = torch.tensor(_word_of_token(tokenizer, source))
    return torch.zeros(int(words.max()) + 1).index_add(0, words, weights[: len(words)].float())


def _word_of_token(tokenizer: Tokenizer, text: str) -> list[int]:
    """The word, counted between spaces, that each token of a text belongs to."""
    _, spans = tokenizer.encode_spans(text)
    return [max(len(_words(text[:end])) - 1, 0) for _, end in spans]


def _measurements(
    found: Mapping[str, Mapping[str, Mapping[int, float]]], chance: Mapping[str, Mapping[str, float]]
) -> list[Measurement]:
    made = []
    for kind, by_name in found.items():
        for name, by_seed in by_name.items():
            figure, _, group = name.partition(", ")
            level = 0.0 if name == FOLLOWS else chance.get(group, {}).get(figure)
            ideal = {BLEU: 100.0, CHRF: 100.0, ALIGNED: 1.0}.get(figure, 1.0)
            made.append(measured(f"{name}, {kind}", by_seed, "", chance=level, ideal=ideal))
        for one, other in ((UNEQUAL, EQUAL), (THIRDS[2], THIRDS[0])):
            above, below = by_name[f"{BLEU}, {one}"], by_name[f"{BLEU}, {other}"]
            ratio = {seed: above[seed] / max(value, LEAST) for seed, value in below.items()}
            made.append(measured(f"{BLEU}, {one}, {kind}, over {other}", ratio, "times", ideal=1.0))
        for other in (DIAGONAL, OTHER):
            made.append(
                difference(f"{ALIGNED}, {kind} minus {other}", by_name[ALIGNED], by_name[f"{ALIGNED}, {other}"])
            )
    for name in (BLEU, f"{BLEU}, {THIRDS[2]}"):
        made.append(difference(f"{name}, {TRANSFORMER} minus {LSTM}", found[TRANSFORMER][name], found[LSTM][name]))
    return made


def _facts(asked: Sequence[Pair], groups: Mapping[str, Sequence[int]]) -> str:
    longest = [max(len(_words(asked[at][0])) for at in groups[name]) for name in THIRDS]
    return (
        f"Of {len(asked):,} pairs {len(groups[EQUAL]):,} have a target of as many words as the source and "
        f"{len(groups[UNEQUAL]):,} one that differs by {APART} or more; the thirds of sources reach to {longest[0]}, "
        f"{longest[1]} and {longest[2]} words; {len(anchors(asked)):,} words are the same in both languages."
    )


def _chart(found: Mapping[str, Mapping[str, Mapping[int, float]]]) -> Chart:
    series = []
    for kind, by_name in found.items():
        points = [measured(name, by_name[f"{BLEU}, {name}"]) for name in THIRDS]
        ends = [point.interval or (point.value, point.value) for point in points]
        series.append(
            Series(
                name=kind,
                x=tuple(map(float, range(len(THIRDS)))),
                y=tuple(point.value for point in points),
                low=tuple(low for low, _ in ends),
                high=tuple(high for _, high in ends),
            )
        )
    return Chart(
        kind="bars",
        title="Translations by the length of the source",
        x_label="third of the sources, by length",
        y_label="BLEU",
        categories=THIRDS,
        series=tuple(series),
    )
