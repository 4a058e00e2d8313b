"""lm-evaluation-harness on our models: `Harness` is a model for its `simple_evaluate` and for its command line.

    from lmworks.evaluation.harness import Harness
    lm_eval.simple_evaluate(model=Harness("smollm2"), tasks=["arc_easy"])

    python -m lmworks.evaluation.harness run --model lmworks --model_args pretrained=smollm2 --tasks arc_easy

Needs the extra `harness` (lm-eval 0.4.13). That version reads no entry points, so its own command `lm_eval` does not
find our model; the command above registers it first. Results do not depend on a batch size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from lmworks.basics.errors import ConfigError
from lmworks.basics.extras import require
from lmworks.generation.strategies import Greedy, Sample, Strategy
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.tokens.continuation import opening

LM: Any = require("lm_eval.api.model", "harness").LM
LONGEST = 256
"""Tokens of an answer where a task sets no limit: the harness's own default."""
AT_ONCE = 16
OF_OTHERS = ("batch_size", "max_batch_size", "device")
"""Settings that the harness passes to every model, and that have no effect here."""


class Harness(LM):
    """A language model with the methods that lm-evaluation-harness calls."""

    def __init__(
        self,
        pretrained: str | LanguageModel = "smollm2",
        *,
        base: str | None = None,
        compress: str | None = None,
        dtype: str | None = None,
        **others: Any,
    ) -> None:
        """`pretrained` is a model or a reference to one, the rest as in `lm.load`. ConfigError for unknown settings."""
        super().__init__()
        if unknown := sorted(set(others) - set(OF_OTHERS)):
            raise ConfigError(f"{unknown[0]} is no setting of --model lmworks; give pretrained, base, compress, dtype")
        if not isinstance(pretrained, LanguageModel):
            pretrained = load(pretrained, base=base, compress=compress, dtype=dtype)
        self.model = pretrained
        self.model.must_converse()

    @property
    def tokenizer_name(self) -> str:
        """The name under which the harness caches this model's prompts."""
        return str(self.model.reference)

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """The log-probability of each continuation, and whether greedy decoding would write it."""
        asked = [request.args for request in requests]
        found = [(one.total, one.greedy) for one in self.model.loglikelihood(asked)]
        for given, one in zip(asked, found, strict=True):
            self.cache_hook.add_partial("loglikelihood", given, one)
        return found

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-probability of each text, summed over the harness's windows, whose predictions do not overlap."""
        utils = require("lm_eval.utils", "harness")
        tokenizer, pairs, owners = self.model.tokenizer, [], []
        for number, request in enumerate(requests):
            ids = [*tokenizer.prefix, *tokenizer.encode(request.args[0], special=False)]
            for window in utils.get_rolling_token_windows(ids, opening(tokenizer), self.model.longest, 1):
                pairs.append(utils.make_disjoint_window(window))
                owners.append(number)
        totals = [0.0] * len(requests)
        for place, found in self.model.continuations(pairs):
            totals[owners[place]] += found.total
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each context, up to one of the stop strings."""
        alike: dict[str, list[int]] = defaultdict(list)
        for number, request in enumerate(requests):
            alike[repr(request.args[1])].append(number)
        answers = [""] * len(requests)
        for numbers in alike.values():
            for start in range(0, len(numbers), AT_ONCE):
                part = numbers[start : start + AT_ONCE]
                written = self._written([requests[at].args[0] for at in part], dict(requests[part[0]].args[1]))
                for at, text in zip(part, written, strict=True):
                    answers[at] = text
                    self.cache_hook.add_partial("generate_until", requests[at].args, text)
        return answers

    def _written(self, contexts: list[str], said: dict[str, Any]) -> list[str]:
        until = said.get("until") or []
        most = next((said[name] for name in ("max_gen_toks", "max_new_tokens", "max_tokens") if name in said), LONGEST)
        room = self.model.longest - most
        if room < 1:
            raise ConfigError(
                f"answers of {most:,} tokens leave no room for a prompt in the {self.model.longest:,} that the "
                "model reads; set max_gen_toks lower"
            )
        prompts = [self.model.encode_prompt(context)[-room:] for context in contexts]
        stops = [until] if isinstance(until, str) else list(until)
        found = self.model.generate_batch(prompts, _strategy(said), max_new_tokens=most, stop=stops)
        return [answer.text for answer in found]


def _strategy(said: dict[str, Any]) -> Strategy:
    if not said.get("do_sample") or not said.get("temperature", 1.0):
        return Greedy()
    filters = {name: said[name] for name in ("top_k", "top_p", "min_p", "seed") if said.get(name) is not None}
    return Sample(temperature=said.get("temperature", 1.0), **filters)


require("lm_eval.models", "harness")  # before ours: the harness registers its own models only if its registry is empty
require("lm_eval.api.registry", "harness").register_model("lmworks")(Harness)


if __name__ == "__main__":
    require("lm_eval.__main__", "harness").cli_evaluate()
