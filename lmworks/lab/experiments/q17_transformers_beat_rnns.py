"""Question 17: a transformer against an LSTM: what comes of computing a row at once, of attention, and of positions.

The LSTM is as wide as it can be without more operations a token than the transformer. Both are trained at the best of
five rates until they stop gaining; their curves are compared after equal seconds and at equal loss, seconds being those
of one core, so that neighbours do not count.
"""

from __future__ import annotations

from itertools import product

from lmworks.lab.bench.recurrent_rival import RECALL_LENGTH, SYMBOLS, Either, as_costly, fresh, tokens_per_second
from lmworks.lab.bench.rival_curves import RATES, Plan, recall_curve, text_curve
from lmworks.lab.bench.small_network import BYTES, byte_text
from lmworks.lab.bench.until_no_gain import best_rate
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.models.config import ModelConfig
from lmworks.models.relatives.ngram import Ngram

TRANSFORMER, LSTM, BLIND, BIGRAMS = Condition.named("transformer", "LSTM", "transformer without positions", "bigrams")
SPEED = Metric("training speed", "tokens/s of one core")
BITS = Metric("held-out text, trained until nothing is gained", "bits/byte", margin=0.02, chance=8.0)
EARLY = Metric("held-out text after equal seconds", "bits/byte", margin=0.02, chance=8.0)
SECONDS = Metric("time to the loss that both reach", "s of one core")
RATE, RECALL_RATE = Metric("learning rate"), Metric("learning rate of recall")
RECALL = Metric("symbols said right", margin=0.02, chance=1 / SYMBOLS, ideal=1.0, share=True)
STOPPED = Metric("runs that stopped gaining before their last step")
LENGTHS = SHORT, _, LONG = 32, 256, 2048
DISTANCES = NEAR, FAR = 2, 32
"""How many tokens back the symbol was that is to be said."""
CONTEXT = 128
LEARNT = (
    Requirement("the LSTM beats a table of bigrams", BITS, LSTM - BIGRAMS, below=0),
    Requirement("so does the transformer", BITS, TRANSFORMER - BIGRAMS, below=0),
    Requirement("the LSTM had stopped gaining", STOPPED, LSTM, above=0.5),
    Requirement("so had the transformer", STOPPED, TRANSFORMER, above=0.5),
)


@experiment(
    17,
    claim="Transformers improve on traditional Seq2Seq models: self-attention processes tokens simultaneously, unlike "
    "sequential RNNs; attention captures relationships between distant tokens easily; positional encodings preserve "
    "the sense of sequence order without needing sequential steps.",
    parts=(
        Part(
            "tokens are processed simultaneously: the longer the rows, the greater a transformer's lead",
            *(SPEED, (TRANSFORMER[LONG] / LSTM[LONG]) / (TRANSFORMER[SHORT] / LSTM[SHORT])),
            above=1,
        ),
        Part(
            "after equal seconds a transformer predicts text better",
            *(EARLY, TRANSFORMER - LSTM),
            below=0,
            needs=LEARNT,
        ),
        Part(
            "a transformer reaches the loss that both reach in less time",
            *(SECONDS, TRANSFORMER / LSTM),
            below=1,
            margin=0.05,
            needs=LEARNT,
        ),
        Part(
            f"a transformer says again more of what stood {FAR} tokens back than an LSTM does",
            *(RECALL, TRANSFORMER[FAR] - LSTM[FAR]),
            above=0,
            needs=(Requirement(f"the LSTM says again what stood {NEAR} tokens back", RECALL, LSTM[NEAR], above=0.8),),
        ),
        Part(
            "positions preserve order: without them a transformer predicts text worse",
            *(BITS, BLIND - TRANSFORMER),
            above=0,
            needs=LEARNT[1:2],
        ),
    ),
    also=(
        Part(f"rows of {LONG:,} tokens train faster in a transformer", SPEED, TRANSFORMER[LONG] / LSTM[LONG], above=1),
        Part(f"so do rows of {SHORT}", SPEED, TRANSFORMER[SHORT] / LSTM[SHORT], above=1),
        Part(
            "where neither gains any more, a transformer predicts text better",
            *(BITS, TRANSFORMER - LSTM),
            below=0,
            needs=LEARNT,
        ),
    ),
    picture=Lines(SPEED, of=(TRANSFORMER, LSTM), x="tokens in a row", log_x=True, log_y=True),
    not_true_when="a recurrent network is one that trains in parallel over a row (Gu & Dao 2023)",
    headlines={
        "y??yy": "The longer the rows, the greater a transformer's lead over an LSTM in speed; it recalls from further "
        "back, and needs positions. Whether it predicts text better after equal time is open."
    },
    not_tested="thousands of cores, which a row at once can use and steps cannot; texts and networks larger than "
    "these; translators (claim 8 has both kinds).",
    note="Operations a token are equal. Rates were chosen among five, for text and for recall, by short runs of seed 0 "
    "on text that judges nothing. A run ends when four validations together bring less than 0.05 bits a byte. Recall: "
    "random symbols come again after a fixed number of tokens, a network for each distance; an LSTM has to carry all "
    "between in its state. A decoder without positions still knows an order, as each token sees only those before it "
    "(Kazemnejad et al. 2023, https://arxiv.org/abs/2305.19466). Recurrent networks of today train in parallel: "
    "https://arxiv.org/abs/2312.00752.",
    minutes=45,
)
def transformers_beat_rnns(
    run: Run,
    text: str = "tinyshakespeare",
    steps: Several = scaled(200, 4000),
    trial: Several = scaled(20, 150),
    recall_steps: Several = scaled(60, 1000),
    every: Count = scaled(20, 50),
    dim: Several = 48,
    layers: Count = 2,
    windows: Count = scaled(40, 100),
) -> None:
    """Speed by length; bits per byte along training, with and without positions; recall by distance."""
    data = byte_text(text)
    whole = ModelConfig(vocab_size=BYTES, dim=dim, layers=layers, heads=2, context=CONTEXT)
    configs: dict[Condition, Either] = {TRANSFORMER: whole, LSTM: as_costly(whole), BLIND: whole.but(positions="none")}
    small = whole.but(vocab_size=SYMBOLS, context=RECALL_LENGTH)
    smalls: dict[Condition, Either] = {TRANSFORMER: small, LSTM: as_costly(small)}

    def text_rate(who: Condition) -> float:
        plans = {rate: Plan(rate, 0, trial, trial, windows) for rate in RATES}
        return best_rate(RATES, lambda rate: text_curve(configs[who], data, plans[rate]).chosen[-1])

    def recall_rate(who: Condition) -> float:
        return best_rate(RATES, lambda rate: recall_curve(smalls[who], 8, Plan(rate, 0, trial, trial)).chosen[-1])

    rates = {who: (text_rate(who), recall_rate(who)) for who in smalls}
    for fixed in run.once():
        bigrams = Ngram.train([data.train.tolist()], BYTES, order=2)
        held_out = data.held_out.tolist()
        run.log(fixed, BIGRAMS, {BITS: bigrams.bits_per_byte([held_out], len(held_out))})
        for who in smalls:
            run.log(fixed, who, dict(zip((RATE, RECALL_RATE), rates[who], strict=True)))
    for seed in run.seeds:
        for length in LENGTHS:
            networks = [fresh(configs[who].but(context=length + 1), seed) for who in smalls]
            for who, speed in zip(smalls, tokens_per_second(networks, length, seed), strict=True):
                run.log(seed, who[length], {SPEED: speed})
        learnt = {}
        for who, config in configs.items():
            rate, _ = rates.get(who, rates[TRANSFORMER])
            learnt[who] = text_curve(config, data, Plan(rate, seed, steps, every, windows))
        shortest = min(learnt[who].seconds[-1] for who in smalls)
        reached = max(learnt[who].best for who in smalls)
        for who, curve in learnt.items():
            run.log(seed, who, {BITS: curve.best, STOPPED: curve.stopped})
            run.log(seed, who, {EARLY: curve.after(shortest), SECONDS: curve.seconds_to(reached)})
        for who, distance in product(smalls, DISTANCES):
            curve = recall_curve(smalls[who], distance, Plan(rates[who][1], seed, recall_steps, every))
            run.log(seed, who[distance], {RECALL: 1 - curve.best})
