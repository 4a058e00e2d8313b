"""Question 46: encoders understand and decoders write, as the parts of one translator, and each alone.

One block in three arrangements learns the same pairs: an encoder and a decoder that attends to it; a decoder alone,
which reads the source as a prefix and goes on; an encoder alone, which fills targets that are gaps. What is left of the
translator without its cross-attention? And from whose states can be told what a question asks for?
"""

from __future__ import annotations

from collections.abc import Sequence

from lmworks.evaluation.answers import whole_answers
from lmworks.generation.answer import Answer
from lmworks.generation.strategies import Greedy
from lmworks.lab.bench.arrangements import continue_sources, fill_targets, mean_ratio, single_stack
from lmworks.lab.bench.encoders import drawn_labelled
from lmworks.lab.bench.translator_states import (
    DECODER_STATES,
    ENCODER_STATES,
    LONE_DECODER,
    LONE_ENCODER,
    TOLD,
    UNTRAINED,
    probed,
    silenced,
)
from lmworks.lab.bench.translators import (
    BLEU,
    CONTEXT,
    TRANSFORMER,
    bleu_counts,
    copied,
    pairs_of,
    translation,
    translator,
)
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.language_model import LanguageModel
from lmworks.models.hooks import hooked
from lmworks.text.sources import read

BOTH, DECODER, ONE_ROUND, FOUR_ROUNDS = Condition.named(
    "encoder-decoder", "decoder alone", "encoder alone, 1 round", "encoder alone, 4 rounds"
)
SILENCED, SHUFFLED, COPY, CHANCE = Condition.named(
    "without cross-attention", "with another source", "copied source", "the most frequent class"
)
ROUNDS = {ONE_ROUND: 1, FOUR_ROUNDS: 4}
"""Rounds in which an encoder fills a target."""
BLOCKS, WIDTH = 2, 640
"""Blocks of a stack that is alone, and the width inside their feed-forwards: as many operations a pair as the 2 + 2
narrower blocks of the encoder-decoder, since both texts pass through all of them."""


@experiment(
    46,
    claim="Encoders process input into abstract representations capturing context; decoders generate outputs using the "
    "encoder's data and previously generated tokens. In translation, the encoder understands the source and the "
    "decoder writes the target.",
    parts=(
        Part(
            "the decoder writes with what the encoder gives it: without, it translates worse",
            BLEU,
            SILENCED - BOTH,
            below=0,
        ),
        Part(
            "the decoder writes with what it has written: an encoder alone, which fills all places at once, translates "
            "worse",
            *(BLEU, ONE_ROUND - BOTH),
            below=0,
        ),
        Part(
            "the encoder's states are a representation of the text that was learnt: they tell more of what it asks for "
            "than an untrained encoder's",
            *(TOLD, ENCODER_STATES - UNTRAINED),
            above=0,
            otherwise="an untrained encoder's states tell as much: what a word is suffices",
        ),
        Part(
            "understanding is the encoder's part: its states tell more than the decoder's as it writes",
            *(TOLD, ENCODER_STATES - DECODER_STATES),
            above=0,
            otherwise="the decoder's states tell as much as the encoder's",
        ),
    ),
    also=(
        Part("an encoder that fills in four rounds translates worse, too", BLEU, FOUR_ROUNDS - BOTH, below=0),
        Part(
            "an encoder and a decoder translate better than a decoder alone of as many operations",
            *(BLEU, BOTH - DECODER),
            above=0,
            otherwise="a decoder that reads and writes translates as well",
        ),
        Part("the encoder's states tell more than a lone decoder's", TOLD, ENCODER_STATES - LONE_DECODER, above=0),
        Part("the encoder's states tell more than a lone encoder's", TOLD, ENCODER_STATES - LONE_ENCODER, above=0),
    ),
    requires=(Requirement("the translator does better than copying its source", BLEU, BOTH - COPY, above=1),),
    picture=Bars(
        BLEU,
        of=(BOTH, DECODER, ONE_ROUND, FOUR_ROUNDS, SILENCED, SHUFFLED, COPY),
        title="The same translations by one block in three arrangements, and without its parts",
    ),
    not_true_when="one stack does both, as in today's large models, which are decoders alone",
    headlines={
        "yyyy": "Yes: a translation needs what the encoder gives and the words written before, and understanding is "
        "the encoder's part, which training teaches it."
    },
    not_tested="large networks; a translator that learnt to do without cross-attention.",
    note="All read the same pairs equally often at the rates chosen for the encoder-decoder. A decoder alone passes "
    "both texts through all of its blocks: at equal operations it has fewer parameters (Raffel et al. 2020, "
    "https://arxiv.org/abs/1910.10683, section 3.2.2). The encoder alone fills targets of five lengths and keeps the "
    "surest. Without cross-attention: what the trained decoder takes from the source is set to zero. Probes: the mean "
    "of the states over each of TREC's questions, frozen, into logistic regression; questions are new to translators "
    "of captions.",
    minutes=45,
)
def encoders_and_decoders(
    run: Run,
    pairs: Several = scaled(2000, 29_000),
    epochs: Count = scaled(1, 2),
    judged: str = scaled("multi30k-validation-en-de", "multi30k-test2016-en-de"),
    sentences: Several = scaled(60, 500),
    labelled: str = "trec-train",
    labelled_held_out: str = "trec-test",
    labels: Several = scaled(200, 1000),
) -> None:
    """BLEU of three arrangements, of a translator that is cut; linear probes on their states."""
    asked = pairs_of(judged, sentences)
    learnt, held_out = read(labelled).documents, read(labelled_held_out).documents
    for fixed in run.once():
        run.log(fixed, COPY, {BLEU: copied(asked)["BLEU"]})
        run.log(fixed, CHANCE, {TOLD: drawn_labelled(learnt, held_out, labels, seed=0).chance})
    for seed in run.seeds:
        recipe = translation(TRANSFORMER, epochs=epochs, seed=seed)
        both = translator(recipe, pairs)
        decoder = single_stack("decoder", recipe, pairs, BLOCKS, WIDTH)
        encoder = single_stack("encoder", recipe, pairs, BLOCKS, WIDTH)
        sources, ratio = [source for source, _ in asked], mean_ratio(both.tokenizer, pairs)
        written: dict[Condition, Sequence[Answer] | Sequence[str]] = {
            BOTH: _answers(both, sources),
            DECODER: continue_sources(decoder, sources),
            **{one: fill_targets(encoder, sources, ratio, rounds) for one, rounds in ROUNDS.items()},
        }
        with hooked(both.network, silenced(both.network)):
            written[SILENCED] = _answers(both, sources)
        written[SHUFFLED] = [*map(str, written[BOTH][1:]), str(written[BOTH][0])]
        for one, answers in written.items():
            run.log(
                seed, one, {BLEU: bleu_counts(answers, asked)}, items=[f"sentence {at}" for at in range(len(asked))]
            )
        data = drawn_labelled(learnt, held_out, labels, seed)
        for one, hits in probed(both, decoder, encoder, data, seed).items():
            run.log(seed, one, {TOLD: hits}, items=[f"question {at}" for at in range(len(hits))])


def _answers(model: LanguageModel, sources: Sequence[str]) -> list[Answer]:
    return whole_answers(model, sources, Greedy(), CONTEXT - 2)
