"""Question 21: attention is blind to order, and positions let it see.

A permutation test, exact in float64: tokens in another order, and the outputs put back. A task that is nothing but
order: which of two marks came first. Real text, read by small networks that differ in their positions alone. And the
same networks on windows longer than those that they were trained on.
"""

from __future__ import annotations

from lmworks.lab.bench.longer_windows import bits_by_place, lengthened, reader
from lmworks.lab.bench.order_task import marks_network, moved_by_order, order_accuracy, order_network
from lmworks.lab.bench.small_network import WARMUP, byte_text, frequency_bits, named, train, window_bits
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Several, scaled
from lmworks.training.settings import TrainingConfig

NONE, SINES, LEARNED, RELATIVE, ROPE, ALIBI = KINDS = Condition.named(
    "none", "sinusoidal", "learned", "relative", "rope", "alibi"
)
CAUSAL, ONE_LAYER, FREQUENCIES = Condition.named("none, causal, 2 layers", "none, causal, 1 layer", "byte frequencies")
MOVED = Metric("change of the outputs by another order of the tokens")
ACCURACY = Metric("which of two marks came first", margin=0.02, chance=0.5, ideal=1)
TEXT = Metric("held-out text", "bits/byte", margin=0.02, chance=8.0)
LONG = Metric("text in windows 4 times as long as learnt", "bits/byte", margin=0.02, chance=8.0)
LONGER = 4
BEYOND, WITHIN = "beyond the learnt length", "within it"
LEARNT = Requirement("the decoder beats byte frequencies", TEXT, SINES - FREQUENCIES, below=0)


@experiment(
    21,
    claim="Self-attention lacks inherent order awareness; positional encodings (sinusoidal functions or learned "
    "vectors) add information about the order, so that the model understands the relative position of words.",
    parts=(
        # What is left is the rounding of float64.
        Part("without positions the order of its tokens changes nothing in an encoder", MOVED, NONE, below=1e-9),
        Part("with sinusoidal positions an encoder tells which of two marks came first", ACCURACY, SINES, above=0.9),
        Part("so does one with learned positions", ACCURACY, LEARNED, above=0.9),
        Part(
            "a decoder with sinusoidal positions predicts text better than one without",
            TEXT,
            SINES - NONE,
            below=0,
            needs=(LEARNT,),
        ),
        Part("learned positions help it, too", TEXT, LEARNED - NONE, below=0, needs=(LEARNT,)),
    ),
    also=(
        Part("an encoder without positions cannot tell which mark came first", ACCURACY, NONE, below=0.55),
        Part("nor does the order change what a causal layer makes of its last token", MOVED, ONE_LAYER, below=1e-9),
        Part("nor what two causal layers make of it", MOVED, CAUSAL, below=1e-9),
        *(Part(f"{one} predicts text better than none", TEXT, one - NONE, below=0) for one in (RELATIVE, ROPE, ALIBI)),
        *(
            Part(f"{one} reads beyond the learnt length as within it", LONG, one[BEYOND] - one[WITHIN], below=0.1)
            for one in KINDS
        ),
    ),
    requires=(Requirement("with positions the same test moves the outputs", MOVED, SINES, above=1e-3),),
    picture=Lines(LONG, of=KINDS, x="place in the window, bytes", title="Loss by place, beyond the learnt length"),
    not_true_when="attention is causal: the mask tells two layers the order without any positions; and beyond the "
    "length that was learnt, positions of both kinds mislead",
    headlines={
        "yyyyy": "An encoder has no order without positions; sinusoidal and learned ones give it, and help a decoder."
    },
    note="An encoder's outputs follow its tokens wherever they are put; that is exact. A causal token sees only those "
    "before it, which is an order: one layer still reads them as a set, two do not (Haviv et al. 2022, "
    "https://arxiv.org/abs/2203.16634). Readers of 2 layers over bytes differ in their positions alone; embeddings "
    "begin as large as the sines added to them (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.4). "
    "Beyond the learnt length: bytes there against those in its second half, of the same windows (Press et al. 2021, "
    "https://arxiv.org/abs/2108.12409).",
    minutes=40,
)
def positions(
    run: Run,
    text: str = "tinyshakespeare",
    steps: Several = scaled(150, 700),
    dim: Several = 96,
    context: Several = 64,
    held_out_windows: Several = scaled(48, 200),
    order_steps: Several = scaled(120, 300),
    order_tokens: Several = 16,
) -> None:
    """Permutation test, order task, bits per byte, and bits per byte by place in longer windows, for each kind."""
    data = byte_text(text)
    for fixed in run.once():
        run.log(fixed, FREQUENCIES, {TEXT: frequency_bits(data)})
    for seed in run.seeds:
        config = TrainingConfig(steps=steps, rows=16, learning_rate=3e-3, warmup=WARMUP, seed=seed)
        for kind in KINDS:
            encoder = order_network(seed, kind.name, order_tokens, order_steps)
            moved = moved_by_order(encoder, order_tokens, seed)
            run.log(seed, kind, {ACCURACY: order_accuracy(encoder, order_tokens, seed), MOVED: moved})
            network = train(reader(seed, kind.name, dim, context), data.train, config)
            bits = window_bits(network, data.held_out, held_out_windows)
            run.log(seed, kind, {TEXT: bits}, items=named(bits))
            longer = lengthened(network, LONGER * context, seed)
            places = bits_by_place(longer, data.held_out, max(held_out_windows // LONGER, 4))
            run.log(seed, kind[BEYOND], {LONG: float(places[context:].mean())})
            run.log(seed, kind[WITHIN], {LONG: float(places[context // 2 : context].mean())})
            step = context // 4
            for at, part in enumerate(places.split(step)):
                run.log(seed, kind[step * at + step // 2], {LONG: float(part.mean())})
        decoder = order_network(seed, NONE.name, order_tokens, order_steps, "decoder")
        known = order_accuracy(decoder, order_tokens, seed)
        run.log(seed, CAUSAL, {ACCURACY: known, MOVED: moved_by_order(decoder, order_tokens, seed)})
        single = marks_network(seed, NONE.name, order_tokens, "decoder", layers=1)
        run.log(seed, ONE_LAYER, {MOVED: moved_by_order(single, order_tokens, seed)})
