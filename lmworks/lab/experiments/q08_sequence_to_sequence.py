"""Question 8: sequence to sequence, a transformer and an LSTM with attention, on pairs whose lengths differ.

Small translators write every sentence of a test text. Do they translate where source and target differ in length? Does
the length they write follow the sentence, or a fixed ratio? And does the decoder write what the encoder has read?
"""

from __future__ import annotations

from collections.abc import Sequence

from lmworks.evaluation.answers import whole_answers
from lmworks.generation.strategies import Greedy
from lmworks.lab.bench.alignment import Pair, aligned, anchors, best_layer
from lmworks.lab.bench.lengths import EQUAL, FOLLOWS, LONG, SHORT, UNEQUAL, groups, lengths
from lmworks.lab.bench.translators import (
    BLEU,
    CONTEXT,
    LSTM,
    TRANSFORMER,
    bleu_counts,
    copied,
    pairs_of,
    translation,
    translator,
)
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.language_model import LanguageModel

T, L = (Condition(kind) for kind in (TRANSFORMER, LSTM))
COPY, DIAGONAL = Condition.named("copied source", "the diagonal")
OTHER = "another source"
ALIGNED = Metric("words whose own source word is looked at most", margin=0.02, ideal=1.0, share=True)


@experiment(
    8,
    claim="Seq2Seq models transform an input sequence into an output sequence, often of different lengths: an encoder "
    "processes the input and a decoder generates the output.",
    parts=(
        *(
            Part(
                f"{name} translates where the target is two words or more longer or shorter than the source",
                *(BLEU, kind[UNEQUAL] - COPY[UNEQUAL]),
                above=0,
                otherwise=f"{name} as small as here learns no more than copying would give",
            )
            for name, kind in (("a transformer", T), ("an LSTM with attention", L))
        ),
        *(
            Part(
                f"the length that {name} writes follows the sentence and not a fixed ratio",
                *(FOLLOWS, kind),
                above=0,
                otherwise="the length written is a share of the source's, whatever the sentence",
            )
            for name, kind in (("a transformer", T), ("an LSTM with attention", L))
        ),
        Part(
            "the decoder writes what the encoder has read: of another source it does not translate this one",
            *(BLEU, T - T[OTHER]),
            above=0,
        ),
    ),
    also=(
        Part("a transformer translates worse where lengths differ", BLEU, T[UNEQUAL] - T[EQUAL], below=0),
        Part("a transformer translates long sources worse than short ones", BLEU, T[LONG] - T[SHORT], below=0),
        Part(
            "the transformer looks at a word's own source word more than the diagonal is right",
            ALIGNED,
            T - DIAGONAL,
            above=0,
        ),
        Part(
            "so does the LSTM", ALIGNED, L - DIAGONAL, above=0, otherwise="an LSTM's states carry what they read before"
        ),
    ),
    picture=Bars(
        BLEU,
        of=(T, L, COPY),
        title="Translations by the length of the source and of the target",
        whole="all sentences",
    ),
    not_true_when="nothing was learnt: a few hundred pairs teach neither network to translate",
    headlines={
        "yyyyy": "Yes: an encoder and a decoder translate where lengths differ, too, and the length that they write "
        "follows the sentence."
    },
    not_tested="summaries and chat; one pair of languages, image captions alone.",
    note="Lengths are words between spaces. Both kinds read the same pairs equally often, with as many operations a "
    "pair; answers are greedy; BLEU of a group is of that group alone. Alignment: a word of four letters or more that "
    "stands once in source and reference belongs together; the network reads both up to it, and its attention (the "
    "layer that is best on validation text) is summed over each source word. Attention that finds a word need not be "
    "what the network uses (Jain & Wallace 2019, https://arxiv.org/abs/1902.10186).",
    minutes=45,
)
def sequence_to_sequence(
    run: Run,
    pairs: Several = scaled(3000, 29_000),
    epochs: Count = scaled(1, 2),
    judged: str = scaled("multi30k-validation-en-de", "multi30k-test2016-en-de"),
    sentences: Several = scaled(200, 1000),
) -> None:
    """BLEU by length, what decides the length written, and where the attention looks."""
    asked = pairs_of(judged, sentences)
    found, other = anchors(asked), pairs_of("multi30k-validation-en-de", 300)
    words = [f"word {at}" for at in range(len(found))]
    for fixed in run.once():
        for name, places in groups(asked).items():
            run.log(fixed, COPY[name], {BLEU: copied([asked[at] for at in places])["BLEU"]})
        run.log(fixed, DIAGONAL, {ALIGNED: [float(one.source_word == one.diagonal) for one in found]}, items=words)
    for seed in run.seeds:
        for kind in (T, L):
            model = translator(translation(kind.name, epochs=epochs, seed=seed), pairs)
            _translate(run, seed, kind, model, asked)
            layer = best_layer(model, other)
            run.log(seed, kind, {ALIGNED: aligned(model, asked, found, layer)}, items=words)
            run.log(seed, kind[OTHER], {ALIGNED: aligned(model, asked, found, layer, shift=1)}, items=words)


def _translate(run: Run, seed: int, kind: Condition, model: LanguageModel, asked: Sequence[Pair]) -> None:
    """BLEU of all sentences, of groups, and of another source's translation; how lengths follow those wanted."""
    answers = whole_answers(model, [source for source, _ in asked], Greedy(), CONTEXT - 2)
    names, counts = [f"sentence {at}" for at in range(len(asked))], bleu_counts(answers, asked)
    run.log(
        seed,
        kind,
        {BLEU: counts, FOLLOWS: [lengths(str(one), *pair) for one, pair in zip(answers, asked, strict=True)]},
        items=names,
    )
    run.log(seed, kind[OTHER], {BLEU: bleu_counts([*answers[1:], answers[0]], asked)}, items=names)
    for name, places in groups(asked).items():
        run.log(seed, kind[name], {BLEU: counts[places]}, items=[names[at] for at in places])
