"""Question 48: hyperparameters steer how fast a model converges and how good it becomes.

The same recipe with a tenth of its learning rate and with four times its batch, at equal numbers of training tokens:
where it ends, and how much of its run the recipe needs to be there. A sweep (`lmworks.jobs.sweeping`) over learning
rate, batch size, depth and dropout gives the best settings and those in the middle, which are trained beside it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from lmworks.jobs.sweeping.importance import LEAST
from lmworks.jobs.sweeping.run import sweep
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.lab.bench.recipe_runs import RecipeBench, reached
from lmworks.lab.bench.small_network import byte_text
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Several, scaled

RATE, BATCH, DEPTH, DROPOUT = "training.learning_rate", "training.rows", "model.layers", "model.dropout"
SPACE: dict[str, dict[str, Any]] = {
    RATE: {"low": 3e-4, "high": 3e-2, "log": True},
    BATCH: {"choices": [8, 16, 32, 64]},
    DEPTH: {"low": 1, "high": 4},
    DROPOUT: {"low": 0.0, "high": 0.3},
}
WORDS = {RATE: "learning rate", BATCH: "batch size", DEPTH: "depth", DROPOUT: "dropout"}
CONDITIONS = RECIPE, SLOWER, LARGER, BEST, MIDDLE = Condition.named(
    "the recipe", "a tenth of the rate", "four times the batch", "the sweep's best", "the sweep's middle"
)
BITS = Metric("judged text", "bits/byte", margin=0.02, chance=8.0, ideal=0.0)
RIGHT = Metric("next bytes that are the likeliest", margin=0.02, ideal=1.0)
SPEED = Metric("share of the recipe's run after which it is as good as this one becomes")
CURVE = Metric("text for choosing", "bits/byte", chance=8.0, ideal=0.0)
IMPORTANCE = Metric("importance", chance=1 / len(SPACE))
SOONER = 0.9
"""A tenth of the run is worth a word; validations are a twelfth apart."""
SWEEP = 0
"""The sweep's seed."""


@experiment(
    48,
    claim="Hyperparameters (like learning rate or batch size) are preset values that control the training process; "
    "they influence how fast a model converges and its final accuracy.",
    parts=(
        Part("a tenth of the learning rate gives another final loss, a worse one", BITS, SLOWER - RECIPE, above=0),
        Part("a tenth of the learning rate converges more slowly", SPEED, SLOWER, below=SOONER),
        Part("four times the batch gives another final loss, a worse one", BITS, LARGER - RECIPE, above=0),
        Part("four times the batch converges more slowly", SPEED, LARGER, below=SOONER),
    ),
    also=(
        Part("fewer next bytes are right at a tenth of the rate", RIGHT, SLOWER - RECIPE, below=0),
        Part("fewer next bytes are right at four times the batch", RIGHT, LARGER - RECIPE, below=0),
        Part("the best settings of a sweep beat those in its middle", BITS, BEST - MIDDLE, below=0),
        Part("the best settings of a sweep beat the recipe's own", BITS, BEST - RECIPE, below=0),
    ),
    requires=(Requirement("the recipe learns more than which bytes are frequent", BITS, RECIPE, below=4.2),),
    picture=Lines(CURVE, of=CONDITIONS, x="share of the run", title="Convergence by hyperparameters"),
    not_true_when="a setting is already past what matters: which settings count, and how much, hangs on the range that "
    "is looked at and on the length of training.",
    headlines={
        "yyyy": "Both matter: training with a tenth of the learning rate, or with four times the batch, is slower and "
        "ends worse after as many tokens."
    },
    not_tested="training until nothing is gained any more; rates for wider networks.",
    note="Every run sees equally many tokens; a larger batch makes fewer steps of them, which is how it usually costs: "
    "with a rate of its own it may do better. The judged text took no part in choosing. The sweep has one seed, that "
    "is not judged; its best and middle trials are trained anew with each seed. Importance is PED-ANOVA's, the best "
    "quarter of the trials against all of them. Speed is read off the loss on the text for choosing.",
)
def hyperparameters(
    run: Run,
    text: str = "tinyshakespeare",
    trials: Annotated[int, Field(ge=LEAST)] = scaled(8, 16),
    epochs: float = scaled(0.15, 0.6),
    dim: Several = 64,
    context: Several = 64,
    held_out_windows: Several = scaled(150, 400),
) -> None:
    """The recipe beside two changes of it and a sweep's settings: where each ends, and how fast."""
    with tempfile.TemporaryDirectory() as name:
        bench = RecipeBench(Path(name), byte_text(text), dim, context, epochs, held_out_windows)
        result = sweep(bench.tables(SWEEP), SPACE, trials, Path(name) / "sweep", seed=SWEEP, prune=False)
        training = TrainRecipe(**bench.tables(SWEEP)).training
        settings: dict[Condition, Mapping[str, Any]] = {
            RECIPE: {},
            SLOWER: {RATE: training.learning_rate / 10},
            LARGER: {BATCH: 4 * training.rows},
            BEST: result.best.settings,
            MIDDLE: result.ranking[len(result.ranking) // 2].settings,
        }
        for fixed in run.once():
            for each in result.importance:
                run.log(fixed, WORDS[each.setting], {IMPORTANCE: each.share})
        for seed in run.seeds:
            found = {one: bench.judge(changes, seed) for one, changes in settings.items()}
            for one, judged in found.items():
                run.log(seed, one, {BITS: judged.bits, RIGHT: judged.right})
                if one is not RECIPE:
                    run.log(seed, one, {SPEED: reached(found[RECIPE].curve, judged.curve[-1][1])})
                for done, bits in judged.curve:
                    run.log(seed, one[round(done, 3)], {CURVE: bits})
