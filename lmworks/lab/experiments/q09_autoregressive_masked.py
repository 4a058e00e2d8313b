"""Question 9: autoregressive models, which predict the next token, beside masked ones, which restore hidden tokens.

One network is trained both ways on the same questions, in runs of three lengths. A masked network learns from the 30 %
of tokens that are hidden, so that one run's masked network has made as many predictions as the autoregressive one of
the next shorter run: each length compares equal compute, and neighbouring lengths equal predictions. The longest runs
are those of claim 7; the next shorter ones have the masked tokens that this claim had before, and disagreed with it.
"""

from __future__ import annotations

from lmworks.lab.bench.class_writer import written
from lmworks.lab.bench.encoders import labelled, pretraining, probe_hits, prose, tuned
from lmworks.lab.bench.gaps import (
    BOTH_SIDES,
    FREQUENCIES,
    NATS,
    NEXT_TOKEN,
    TUNING_RATES,
    at_gaps,
    by_frequency,
    gaps_of,
    ids_of,
    pretrained,
)
from lmworks.lab.bench.whole_texts import bits_per_token, costs, filled, tried_at_gaps
from lmworks.lab.bench.writers import end_of
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.models.relatives.ngram import Ngram

CAUSAL, MASKED, PEOPLE = Condition.named("autoregressive", "masked", "people")
SHORT_CAUSAL, SHORT_MASKED = CAUSAL["fewer steps"], MASKED["fewer steps"]
THERE, TRIED = MASKED["some gaps"], CAUSAL["every token tried in some gaps"]
NEW = Metric("new questions under trigrams of real ones", "bits/token", margin=0.02)
COST = Metric("real questions from the left", "bits/token", margin=0.02, ideal=0.0)
FROZEN = Metric("what is asked for, told from frozen features", margin=0.02, ideal=1.0)
TUNED = Metric("what is asked for, told by the tuned network", margin=0.02, ideal=1.0)
RATE, SHARE, AGAIN = 0.02, 0.3, 3
"""Of training, as in claim 7; of tokens that are hidden; times that a masked network draws each token anew."""


@experiment(
    9,
    claim="Autoregressive models (e.g., GPT) predict tokens sequentially based on prior tokens; they excel in "
    "generative tasks like text completion. Masked models (e.g., BERT) predict masked tokens using bidirectional "
    "context, making them ideal for comprehension tasks like classification.",
    parts=(
        Part("an autoregressive network completes texts better", COST, CAUSAL - MASKED, below=0),
        Part(
            "an autoregressive network writes texts that are likelier under a model of real ones",
            *(NEW, CAUSAL - MASKED),
            below=0,
            needs=(Requirement("they are not too likely, as repetition would be", NEW, CAUSAL - PEOPLE, above=0),),
        ),
        Part(
            "a masked network fills a gap better, with both sides in view",
            *(NATS, MASKED - CAUSAL),
            below=0,
            otherwise="at equal compute an autoregressive network fills a gap as well, asked in front of it",
        ),
        Part(
            "tuned on labels, a masked network classifies better",
            *(TUNED, MASKED - CAUSAL),
            above=0,
            otherwise="at equal compute an autoregressive network classifies as well or better once it is tuned",
        ),
        Part(
            "frozen features of a masked network classify better",
            *(FROZEN, MASKED - CAUSAL),
            above=0,
            otherwise="at equal compute an autoregressive network has features as good or better",
        ),
    ),
    also=(
        Part("with as many predictions, a masked network fills a gap better", NATS, MASKED - SHORT_CAUSAL, below=0),
        Part(
            "with as many predictions, a masked network classifies better when tuned",
            *(TUNED, MASKED - SHORT_CAUSAL),
            above=0,
        ),
        Part(
            "with as many predictions, a masked network's frozen features are better",
            *(FROZEN, MASKED - SHORT_CAUSAL),
            above=0,
        ),
        Part(
            "after 3.3 times fewer steps, too, a masked network fills a gap better",
            *(NATS, SHORT_MASKED - SHORT_CAUSAL),
            below=0,
        ),
        Part(
            "a masked network fills a gap better than an autoregressive one that tries every token there",
            *(NATS, THERE - TRIED),
            below=0,
            otherwise="trying every token in the gap and weighing the whole text sees both sides as well",
        ),
    ),
    requires=(
        Requirement(
            "masked modelling was learnt: it beats token frequencies at a gap", NATS, MASKED - FREQUENCIES, below=0
        ),
        Requirement("so was predicting the next token", NATS, CAUSAL - FREQUENCIES, below=0),
    ),
    picture=Lines(
        NATS, of=(CAUSAL, MASKED, FREQUENCIES), x="steps", title="A hidden token, by steps of training", log_x=True
    ),
    not_true_when="runs are short: a masked network learns from 30 % of the tokens and needs longer; after 3.3 times "
    "fewer steps, the network that predicts the next token fills gaps better",
    headlines={
        "yyyyn": "A network that predicts the next token completes texts better and writes likelier ones; a masked one "
        "fills gaps better and classifies better once it is tuned. Frozen, the features of the first classify better."
    },
    not_tested="networks of the size of BERT or GPT: these are a thousand times smaller.",
    note="Parts compare equal steps on the same batches of TREC's questions, without their classes. New questions are "
    "drawn at temperature 1 and judged by trigrams of the training text; a masked network is told the lengths of real "
    "ones, fills masks in random order and draws each token again three times (Wang and Cho 2019, "
    "https://arxiv.org/abs/1902.04094). From the left, a masked network reads masks for what is to come, which no "
    "training showed it. Frozen features are means over the last states. Every token tried takes thousands of times "
    "the work.",
    minutes=45,
)
def two_objectives(
    run: Run,
    text: str = "trec-train",
    held_out: str | None = "trec-test",
    steps: Count = scaled(150, 1000),
    rows: Count = scaled(32, 64),
    new: Several = scaled(60, 300),
    labels: Count = 200,
    tuning_steps: Count = scaled(20, 60),
    gaps: Count = scaled(200, 500),
    tried: Count = scaled(5, 30),
) -> None:
    """New questions, gaps and classes, by what one network was trained for and for how long."""
    questions = prose(text, held_out)
    tokenizer, end, asked = questions.tokenizer, end_of(questions.tokenizer), gaps_of(questions, gaps)
    people = ids_of(questions.held_out)[:new]
    likely = Ngram.train([[*ids, end] for ids in ids_of(questions.train)], tokenizer.vocab_size, order=3)
    places, texts = [f"gap {at}" for at in range(len(asked))], [f"text {at}" for at in range(len(people))]
    for fixed in run.once():
        run.log(fixed, FREQUENCIES, {NATS: by_frequency(questions, asked)}, items=places)
        run.log(fixed, PEOPLE, {NEW: bits_per_token(people, likely, end)})
    for seed in run.seeds:
        data = labelled(questions, labels, seed)
        judged = [f"question {at}" for at in range(len(data.parts["test"][0]))]
        for who, how in ((CAUSAL, NEXT_TOKEN), (MASKED, BOTH_SIDES)):
            causal = who == CAUSAL
            for length, called in ((2, None), (1, who["fewer steps"]), (0, who)):
                number = max(round(steps * SHARE**length), 2)
                network = pretrained(questions, how, SHARE, pretraining(number, rows, RATE, seed))
                nats = at_gaps(network, asked, next_token=causal)
                run.log(seed, who[number], {NATS: sum(nats) / len(nats)})
                if called is not None:
                    told = tuned(network, tokenizer, data, seed, tuning_steps, TUNING_RATES)
                    run.log(seed, called, {NATS: nats}, items=places)
                    run.log(seed, called, {TUNED: told, FROZEN: probe_hits(network, tokenizer, data)}, items=judged)
            run.log(seed, who, {COST: costs(network, tokenizer, people, causal)}, items=texts)  # of the longest run
            if causal:
                wrote = written(network, tokenizer, [list(tokenizer.prefix)] * len(people), seed)
                run.log(seed, TRIED, {NATS: tried_at_gaps(network, asked[:tried])}, items=places[:tried])
            else:
                wrote = filled(network, tokenizer, [len(ids) for ids in people], AGAIN, seed)
                run.log(seed, THERE, {NATS: nats[:tried]}, items=places[:tried])
            run.log(seed, who, {NEW: bits_per_token(wrote, likely, end)})
