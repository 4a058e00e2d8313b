"""What a model gives to pairs of answers before it is trained: the reference of preference losses, computed once.

    values = kept_references(run / "reference.json", depends_on, lambda: references(network, rows, config))
    rows = with_references(rows, values)

The rows go through the network as they will in the first epoch, by the same blocks and in the same micro-batches, so
that a model that has not moved is at no distance, to the bit: the loss of DPO's first step is ln 2. What a method puts
beside the weights is on, whatever it begins at: a trained prompt begins elsewhere than its base, and so may an adapter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.basics.files import write_json
from lmworks.models.files.model_folder import read_json
from lmworks.models.network import Network, evaluating
from lmworks.objectives.preference import sums_by_document
from lmworks.tokens.batch import Row
from lmworks.tokens.rows import ExampleRows
from lmworks.training.blocks import fast_blocks
from lmworks.training.settings import TrainingConfig

References = list[list[float]]
"""By row and document: the log-probability of the supervised tokens, in nats."""


def references(network: Network, rows: Sequence[Row], config: TrainingConfig) -> References:
    """What the network gives as it is now, which is before its first step, without dropout."""
    found: References = [[] for _ in rows]
    packed, training = ExampleRows(rows), network.training
    plain = config.but(compile=False)
    with (
        progress.task("reference", len(rows), "rows") as advance,
        fast_blocks(network, plain, lambda: None),
        evaluating(network) if network.config.dropout else nullcontext(),
    ):
        if not network.config.dropout:
            network.train()
        for places in packed.order(config.rows, 0, config.seed):
            batch = packed.batch(places).to(network.device)
            # With gradients on, as in a step: without them, matrices would be packed anew for inference.
            hidden = network.hidden(batch.tokens, documents=batch.documents).detach()
            sums = iter(sums_by_document(network, batch, hidden)[0].tolist())
            for place in places:
                found[place] = [next(sums) for _ in rows[place]]
            advance(len(places))
    network.train(training)
    return found


def kept_references(path: Path, depends_on: Mapping[str, str], compute: Callable[[], References]) -> References:
    """What `path` keeps, else what `compute` gives, which is then kept there.

    ConfigError for a file that was made under other conditions: `depends_on` says of each, in words, what it is now.
    """
    if not path.exists():
        found = compute()
        write_json(path, {"depends_on": dict(depends_on), "references": found})
        return found
    try:
        facts = read_json(path)
        theirs, kept = dict(facts["depends_on"]), list(facts["references"])
    except (ModelError, KeyError, TypeError, ValueError):
        raise ConfigError(f"{path} cannot be read; remove it, and the reference is computed again") from None
    if changed := [name for name, value in depends_on.items() if theirs.get(name) != value]:
        raise ConfigError(
            f"{path} holds the reference of a run with another {changed[0]}; put that back, or remove {path.parent} to "
            "start afresh"
        )
    return kept


def rows_digest(rows: Sequence[Row]) -> str:
    """SHA-256 of all tokens of rows, and of which of them are supervised."""
    whole = hashlib.sha256()
    for row in rows:
        for one in row:
            whole.update(f"{one.tokens}{one.supervised}".encode())
    return whole.hexdigest()
