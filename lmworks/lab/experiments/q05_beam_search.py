"""Question 5: beam search beside greedy decoding and sampling, with a source that says what to write and without.

Small translators write the same sentences with beams of growing width, with other length penalties, and by sampling. A
real decoder continues real texts, and is compared with the people who wrote them.
"""

from __future__ import annotations

from lmworks.evaluation.answers import whole_answers
from lmworks.evaluation.text_statistics import repeated
from lmworks.generation.strategies import Beam, Greedy, Sample, Strategy
from lmworks.lab.bench.continuations import FEATURES, Excerpt, excerpts, sampled, seeded_strategies
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
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.text.sources import read

BEAM, SAMPLED, PEOPLE, COPY = Condition.named("beams", "sampled", "people", "copied source")
GREEDY, FOUR, WIDEST = BEAM[1], BEAM[4], BEAM[16]
LOGPROB = Metric("log-probability of a translation", "nats")
REPEATS = Metric("repeated runs of 4 tokens in open text", margin=0.02, share=True)
VARIETY = Metric("different pairs of tokens in open text", margin=0.02)
WIDTHS = (1, 2, 4, 8, 16)
PROMPT_TOKENS = 32
"""Tokens of the beginning that a text is continued from."""
STRATEGIES: dict[Condition, Strategy] = {
    **{BEAM[width]: Beam(width=width) if width > 1 else Greedy() for width in WIDTHS},
    **{Condition(f"4 beams, length penalty {one:g}"): Beam(width=4, length_penalty=one) for one in (0.0, 2.0)},
    SAMPLED: Sample(),
}


@experiment(
    5,
    claim="Beam search explores multiple sequences simultaneously, keeping the top k candidates (beams), where greedy "
    "decoding takes the most probable word at each step; this ensures more coherent outputs by balancing probability "
    "and diversity.",
    parts=(
        Part("4 beams find likelier translations than greedy decoding", LOGPROB, FOUR - GREEDY, above=0),
        Part("and better ones", BLEU, FOUR - GREEDY, above=0),
        Part(
            "text without a source repeats itself less than greedy text does",
            *(REPEATS, FOUR - GREEDY),
            below=0,
            otherwise="nothing says what is to be written: beams go round in circles there, as greedy decoding does",
        ),
        Part(
            "and is more varied",
            *(VARIETY, FOUR - GREEDY),
            above=0,
            otherwise="variety is wanted: beams look for probability alone, and sampling is what varies",
        ),
    ),
    also=(
        Part("16 beams translate better than 4", BLEU, WIDEST - FOUR, above=0),
        Part("4 beams repeat themselves no more than people", REPEATS, FOUR - PEOPLE, below=0.02),
        Part("greedy decoding translates better than sampling", BLEU, GREEDY - SAMPLED, above=0),
    ),
    requires=(Requirement("the translator does better than copying its source", BLEU, GREEDY - COPY, above=1),),
    picture=Lines(BLEU, of=(BEAM, SAMPLED), x="beams", title="Translations by the number of beams", log_x=True),
    headlines={
        "yy??": "Four beams translate better than greedy decoding. In open text both repeat themselves far more than "
        "people do; which of them more is open."
    },
    not_tested="coherence itself; likeness to a reference stands for it in translation, repetition for the lack of it "
    "in open text. Dialogue was not tried.",
    note="Small translators from nothing, one a seed, judged by the same sentences; BLEU by sacrebleu, its interval by "
    "leaving out sentences (jackknife), over seeds and sentences. The log-probability is that of the whole translation "
    "under the model, its end included: what beams look for. Sampled: from all of the model's own distribution. That "
    "wider beams find likelier and yet not better translations is known of larger models (Koehn & Knowles 2017, "
    "https://arxiv.org/abs/1706.03872; Stahlberg & Byrne 2019, https://arxiv.org/abs/1908.10090). In open text a real "
    "decoder goes on from pieces of real text, each seed from others; people are those who wrote them (Holtzman et al. "
    "2020, https://arxiv.org/abs/1904.09751).",
    minutes=45,
)
def beam_search(
    run: Run,
    pairs: Several = scaled(3000, 29_000),
    epochs: Count = scaled(1, 2),
    judged: str = scaled("multi30k-validation-en-de", "multi30k-test2016-en-de"),
    sentences: Several = scaled(60, 1000),
    writer: str = "smollm2",
    text: str = "wikitext2",
    prompts: Several = scaled(6, 16),
    length: Several = scaled(32, 64),
) -> None:
    """BLEU and log-probability by width, penalty and sampling; repetition and variety in open text."""
    asked = pairs_of(judged, sentences)
    decoder, documents = load(writer), read(text).documents
    for fixed in run.once():
        run.log(fixed, COPY, {BLEU: copied(asked)["BLEU"]})
    for seed in run.seeds:
        model = translator(translation(TRANSFORMER, epochs=epochs, seed=seed), pairs)
        for condition, strategy in STRATEGIES.items():
            _translate(run, seed, condition, model, strategy, asked)
        excerpts_ = excerpts(decoder, documents, prompts, seed, PROMPT_TOKENS, length)
        _continue(run, seed, decoder, excerpts_, length)


def _translate(
    run: Run,
    seed: int,
    condition: Condition,
    model: LanguageModel,
    strategy: Strategy,
    asked: list[tuple[str, str]],
) -> None:
    strategies = seeded_strategies(strategy, seed, len(asked))
    answers = whole_answers(model, [source for source, _ in asked], strategies, CONTEXT - 2)
    values = {BLEU: bleu_counts(answers, asked), LOGPROB: [sum(answer.logprobs) for answer in answers]}
    run.log(seed, condition, values, items=[f"sentence {at}" for at in range(len(asked))])


def _continue(run: Run, seed: int, decoder: LanguageModel, asked: list[Excerpt], length: int) -> None:
    """What the decoder writes after pieces of real text, and what people wrote."""
    written = {one: sampled(decoder, asked, STRATEGIES[one], seed, length) for one in (GREEDY, FOUR, SAMPLED)}
    for condition, texts in {PEOPLE: [excerpt.human for excerpt in asked], **written}.items():
        repeats, variety = [repeated(one.tokens, 4) for one in texts], map(FEATURES["distinct pairs"], texts)
        run.log(seed, condition, {REPEATS: repeats, VARIETY: list(variety)})
