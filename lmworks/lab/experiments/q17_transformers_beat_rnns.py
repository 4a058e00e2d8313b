"""Question 17: a transformer against an LSTM, by speed, by how far back they recall, by what positions are worth, and
by how well they translate.

The LSTM is as wide as it can be without more operations a token than the transformer, and both read the same tokens in
the same order: equal operations and equal data. Speed is counted in seconds of one core, so that neighbours do not
count.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from lmworks.basics.threads import one_thread
from lmworks.evaluation.answers import answered
from lmworks.evaluation.measurement import Measurement
from lmworks.generation.strategies import Greedy
from lmworks.lab.bench.byte_rows import byte_rows, nats_per_byte
from lmworks.lab.bench.small_network import BYTES, ByteText, byte_text
from lmworks.lab.bench.training import fit
from lmworks.lab.bench.translators import LSTM as ATTENTIVE
from lmworks.lab.bench.translators import bleu_of, pairs_of, translation, translator
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.models.relatives.recurrent import RecurrentNetwork
from lmworks.models.relatives.recurrent_config import RecurrentConfig
from lmworks.objectives import CausalLM
from lmworks.tokens.batch import Example, Row, stack
from lmworks.training.settings import TrainingConfig

LN_2 = 0.6931471805599453
TRANSFORMER, BLIND, LSTM = "transformer", "transformer without positions", "LSTM"
STEP_TOKENS = 2048
"""Tokens of a training step whose time is taken, in rows of each length."""
TRIES = 2
"""Times that a step is taken; the faster counts, hardly the first, whose caches are cold."""
CONTEXT, ROWS, RATES = 128, 16, (3e-3, 1e-2)
TRIAL = 1000
"""The seed of the runs that choose a rate; no other run has it."""
RECALL_LENGTH, SYMBOLS, RECALL_ROWS, RECALL_RATE = 64, 16, 16, 5e-3
JUDGED = 256
"""Rows that recall is judged on."""
DISTANCES = (2, 8, 32)
"""How many tokens back the symbol was that is to be said."""
UNIT, SPEED = "bits/byte", "tokens/s of one core"
FAR = DISTANCES[-1]

Configs = Mapping[str, ModelConfig | RecurrentConfig]


def speed_ratio(length: int) -> str:
    """The name of how many times as fast the transformer trains."""
    return f"{TRANSFORMER}'s training speed over the {LSTM}'s, rows of {length} tokens"


LENGTHS = (32, 128, 512, 2048)
GROWTH = "how that ratio grows from the shortest to the longest rows"
RECALL = f"recall {FAR} tokens back, {TRANSFORMER} minus {LSTM}"
POSITIONS = f"held-out text, {BLIND} minus with them"
QUALITY = f"held-out text, {TRANSFORMER} minus {LSTM}"
BLEU = "BLEU, Multi30k en-de"
TRANSLATED = f"{BLEU}, {TRANSFORMER} minus {ATTENTIVE}"
SENTENCES = 500
"""Of the judged text, translated greedily; a tenth of what was learnt from where that is less."""


@experiment(
    question=17,
    claim="Transformers improve on traditional Seq2Seq models: self-attention processes tokens simultaneously, unlike "
    "sequential RNNs; attention captures relationships between distant tokens easily; positional encodings preserve "
    "the sense of sequence order without needing sequential steps.",
    rule=Rule(
        holds_if=(
            Check(speed_ratio(LENGTHS[-1]), ">", 1),
            Check(GROWTH, ">", 1),
            Check(RECALL, ">", 0.1),
            Check(POSITIONS, ">", 0),
        ),
        only_if=(
            (
                Check(QUALITY, "<", 0),
                "the text and the compute are larger than here: at equal operations the LSTM predicts text as well or "
                "better",
            ),
            (
                Check(speed_ratio(LENGTHS[0]), ">", 1),
                "texts are long: in short rows an LSTM of as many operations is faster",
            ),
            (
                Check(TRANSLATED, ">", 0),
                "an LSTM with attention is not meant: at equal operations it translates as well or better",
            ),
        ),
    ),
)
def transformers_beat_rnns(
    text: str = "tinyshakespeare",
    steps: Several = scaled(20, 200),
    recall_steps: Several = scaled(70, 200),
    dim: Several = 96,
    layers: Count = 2,
    windows: Count = scaled(100, 300),
    pairs: Several = scaled(320, 29_000),
    epochs: Count = scaled(1, 2),
    judged: str = scaled("multi30k-validation-en-de", "multi30k-test2016-en-de"),
    seeds: Count = 3,
) -> Observation:
    """Training speed by length, recall by distance, bits per byte with and without positions, and BLEU."""
    shape: dict[str, Any] = {"vocab_size": BYTES, "dim": dim, "layers": layers, "heads": 2, "context": CONTEXT}
    with_positions = ModelConfig(**shape)
    configs: Configs = {
        TRANSFORMER: with_positions,
        BLIND: with_positions.but(positions="none"),
        LSTM: as_costly(with_positions),
    }
    speeds = {length: _speeds(configs, length, seeds) for length in LENGTHS}
    data = byte_text(text)
    bits, rates = _bits(configs, data, steps, windows, seeds)
    small = with_positions.but(vocab_size=SYMBOLS, dim=64, head_dim=32, hidden_dim=256, context=RECALL_LENGTH)
    recall = _recall({TRANSFORMER: small, LSTM: as_costly(small)}, recall_steps, seeds)
    bleu, copied = _translations(pairs_of(judged, min(SENTENCES, max(pairs // 10, 1))), pairs, epochs, seeds)
    ratios = {length: _over(of[TRANSFORMER], of[LSTM]) for length, of in speeds.items()}
    measurements = (
        *(measured(f"{who}, rows of {length} tokens", of[who], SPEED) for length, of in speeds.items() for who in of),
        *(measured(speed_ratio(length), ratio, "times", chance=1.0) for length, ratio in ratios.items()),
        measured(GROWTH, _over(ratios[LENGTHS[-1]], ratios[LENGTHS[0]]), "times", chance=1.0),
        *(
            measured(f"{who}, recall {distance} tokens back", found, "share", chance=1 / SYMBOLS, ideal=1.0)
            for who, by_distance in recall.items()
            for distance, found in by_distance.items()
        ),
        difference(RECALL, recall[TRANSFORMER][FAR], recall[LSTM][FAR], "share"),
        *(measured(f"{who}, held-out text", found, UNIT, chance=8.0, ideal=0.0) for who, found in bits.items()),
        difference(POSITIONS, bits[BLIND], bits[TRANSFORMER], UNIT),
        difference(QUALITY, bits[TRANSFORMER], bits[LSTM], UNIT),
        *(measured(f"{BLEU}, {who}", one, chance=copied, ideal=100.0) for who, one in bleu.items()),
        difference(TRANSLATED, bleu[TRANSFORMER], bleu[ATTENTIVE]),
    )
    sizes = ", ".join(
        f"{who} {operations(config, CONTEXT):,} operations a token and {_parameters(config):,} parameters"
        for who, config in configs.items()
    )
    chosen = ", ".join(f"{who} {rate:g}" for who, rate in rates.items())
    return Observation(measurements=measurements, chart=_chart(recall), note=f"{sizes}. Rates: {chosen}. {NOTE}")


NOTE = (
    "An operation is a multiply-add of a forward pass, attention's own counted. Each learning rate was chosen of two "
    "by a run of its own on other text; recall has one rate for both, and both have AdamW. One core shows what reading "
    "a row at once spares in calls and in reading weights, and nothing of what thousands of cores do with it; FLOPs "
    "are equal at rows of "
    f"{CONTEXT}, in longer rows the transformer's attention costs more. The recall task says each random symbol again "
    "after a fixed number of tokens, and a network is trained for each: a transformer needs a head that looks so far "
    "back, an LSTM has to carry all symbols between in its state. Which symbol is wanted follows from its place; where "
    "it follows from the text alone (another period in each row), neither said a quarter right from 16 tokens back "
    "after 400 and 600 steps (one seed each). A decoder without positions still knows an order, because each token "
    "sees only those before it (Kazemnejad et al. 2023, https://arxiv.org/abs/2305.19466); an encoder would not. The "
    "LSTM of old translators had attention too (Bahdanau et al. 2014), which is what brought distant words near: the "
    "one that translates has it too. Both translators read the same pairs equally often, with as many operations a "
    "pair, each with the optimiser and rate of its shipped recipe (Muon for the transformer's blocks, AdamW for the "
    "LSTM). A few hundred pairs, as at the quick scale, teach neither anything: where both BLEUs are below that of who "
    "copies, their difference says nothing of the claim. The comparison of translations was added to the rule before "
    "any full run. RNNs of today are trained in parallel over a text (Gu & Dao 2023, "
    "https://arxiv.org/abs/2312.00752): that an RNN must step is no law."
)


def operations(config: ModelConfig | RecurrentConfig, length: int) -> int:
    """Multiply-adds of a forward pass for each token in rows of that length, those of the logits included."""
    head = config.vocab_size * config.dim
    if isinstance(config, RecurrentConfig):
        inputs = [config.dim, *[config.hidden_dim] * (config.layers - 1)]
        return head + sum(4 * config.hidden_dim * (width + config.hidden_dim) for width in inputs)
    block = 4 * config.dim**2 + (3 if config.gated else 2) * config.dim * config.hidden_dim
    return head + config.layers * (
        block + config.dim * (length + 1)
    )  # half of the keys are seen, twice: scores and mixing


def as_costly(config: ModelConfig) -> RecurrentConfig:
    """The widest LSTM of as many layers that takes no more operations a token."""
    shape: dict[str, Any] = {"vocab_size": config.vocab_size, "layers": config.layers, "context": config.context}
    allowed, width = operations(config, config.context), 1
    while operations(RecurrentConfig(**shape, dim=width + 1), config.context) <= allowed:
        width += 1
    return RecurrentConfig(**shape, dim=width)


def _network(config: ModelConfig | RecurrentConfig, seed: int) -> Network:
    made = RecurrentNetwork(config) if isinstance(config, RecurrentConfig) else Network(config)
    return made.initialise(seed)


def _parameters(config: ModelConfig | RecurrentConfig) -> int:
    return sum(weight.numel() for weight in _network(config, 0).parameters())


def _over(one: Mapping[int, float], other: Mapping[int, float]) -> dict[int, float]:
    return {seed: value / other[seed] for seed, value in one.items()}


def _speeds(configs: Configs, length: int, seeds: int) -> dict[str, dict[int, float]]:
    """Tokens a second of training steps, the networks in turns."""
    found: dict[str, dict[int, float]] = {who: {} for who in (TRANSFORMER, LSTM)}
    for seed in range(seeds):
        tokens = torch.randint(0, BYTES, (STEP_TOKENS // length, length + 1), generator=_generator(seed))
        batch = stack([(Example(row, [True] * len(row), "speed"),) for row in tokens.tolist()])
        networks = {who: _network(configs[who].but(context=length + 1), seed) for who in found}
        seconds: dict[str, list[float]] = {who: [] for who in found}
        with one_thread():
            for _ in range(TRIES):
                for who, network in networks.items():
                    began = time.process_time()
                    network.zero_grad()
                    CausalLM()(network, batch).mean.backward()
                    seconds[who].append(time.process_time() - began)
        for who, taken in seconds.items():
            found[who][seed] = STEP_TOKENS / min(taken)
    return found


def _translations(
    asked: Sequence[tuple[str, str]], pairs: int, epochs: int, seeds: int
) -> tuple[dict[str, dict[int, float]], float]:
    """BLEU of small translators of either kind, and of who copies the sources."""
    sources, copied = [source for source, _ in asked], 0.0
    found: dict[str, dict[int, float]] = {TRANSFORMER: {}, ATTENTIVE: {}}
    for seed, who in itertools.product(range(seeds), found):
        model = translator(translation(who, epochs=epochs, seed=seed), pairs)
        judged = bleu_of(answered(model, sources, Greedy(), CONTEXT - 2), asked)
        found[who][seed], copied = judged.value, judged.chance or 0.0
    return found, copied


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _bits(
    configs: Configs, data: ByteText, steps: int, windows: int, seeds: int
) -> tuple[dict[str, dict[int, float]], dict[str, float]]:
    """Bits per byte of held-out text, and the rate that text for choosing gave each."""
    rows = byte_rows(data.train, CONTEXT)

    def trained(who: str, rate: float, seed: int, steps: int = steps) -> Network:
        network = _network(configs[who], seed)
        fit(network, CausalLM(), rows, _training(CONTEXT, ROWS, steps, rate, seed))
        return network

    def loss_with(who: str) -> Callable[[float], float]:
        return lambda rate: nats_per_byte(trained(who, rate, TRIAL, max(steps // 2, 2)), data.choose, windows)

    rates = {who: min(RATES, key=loss_with(who)) for who in (TRANSFORMER, LSTM)}
    rates[BLIND] = rates[TRANSFORMER]
    bits = {
        who: {seed: nats_per_byte(trained(who, rate, seed), data.held_out, windows) / LN_2 for seed in range(seeds)}
        for who, rate in rates.items()
    }
    return bits, rates


def _training(context: int, rows: int, steps: int, rate: float, seed: int) -> TrainingConfig:
    return TrainingConfig(context=context, rows=rows, steps=steps, learning_rate=rate, warmup=0.1, seed=seed)


def repeated(rows: int, distance: int, seed: int) -> Int[Tensor, "rows length"]:
    """Rows of random symbols that repeat after this many tokens, over and over."""
    symbols = torch.randint(0, SYMBOLS, (rows, RECALL_LENGTH), generator=_generator(seed))
    return symbols[:, torch.arange(RECALL_LENGTH) % distance]


def _recall(configs: Configs, steps: int, seeds: int) -> dict[str, dict[int, dict[int, float]]]:
    """The share of symbols that are said right, by how far back they are: a network is trained for each distance."""
    found: dict[str, dict[int, dict[int, float]]] = {who: {one: {} for one in DISTANCES} for who in configs}
    for seed, distance in itertools.product(range(seeds), DISTANCES):
        known = [place >= distance for place in range(RECALL_LENGTH)]
        tokens = repeated(steps * RECALL_ROWS, distance, seed).tolist()
        rows: list[Row] = [(Example(row, known, "recall"),) for row in tokens]
        for who, config in configs.items():
            network = _network(config, seed)
            fit(network, CausalLM(), rows, _training(RECALL_LENGTH, RECALL_ROWS, steps, RECALL_RATE, seed))
            found[who][distance][seed] = recalled(network, distance, TRIAL + seed)
    return found


@torch.no_grad()
def recalled(network: Network, distance: int, seed: int) -> float:
    """The same share of a network on rows of their own seed."""
    tokens = repeated(JUDGED, distance, seed)
    said = torch.cat([network(rows[:, :-1]).argmax(dim=-1) for rows in tokens.split(64)])
    return float((said == tokens[:, 1:])[:, distance - 1 :].float().mean())


def _chart(recall: Mapping[str, Mapping[int, Mapping[int, float]]]) -> Chart:
    def line(who: str, by_distance: Mapping[int, Mapping[int, float]]) -> Series:
        points: Sequence[Measurement] = [measured(who, found) for found in by_distance.values()]
        ends = [point.interval or (point.value, point.value) for point in points]
        return Series(
            name=who,
            x=tuple(map(float, by_distance)),
            y=tuple(point.value for point in points),
            low=tuple(low for low, _ in ends),
            high=tuple(high for _, high in ends),
        )

    chance = Series(name="chance", x=(DISTANCES[0], FAR), y=(1 / SYMBOLS, 1 / SYMBOLS))
    return Chart(
        kind="line",
        title="Recall by distance, trained with equal operations",
        x_label="tokens back",
        y_label="share said right",
        log_x=True,
        series=(*(line(who, found) for who, found in recall.items()), chance),
    )
