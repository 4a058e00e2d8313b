"""What a scheduler does where the runner changes under it: weights that are others, a compiled path that fails."""

from __future__ import annotations

import itertools

import pytest
import tiny

from lmworks.basics import progress
from lmworks.basics.errors import KernelError
from lmworks.generation.decoding import decode, start
from lmworks.generation.engine import Engine
from lmworks.generation.guessing import Lookup
from lmworks.generation.request import LogprobOptions
from lmworks.generation.scheduler import Scheduler
from lmworks.generation.strategies import Beam, Contrastive, Greedy, Sample
from lmworks.kernels import CompiledRunner, choice, unavailable
from lmworks.language_model import LanguageModel
from lmworks.models.network import Network
from lmworks.models.torch_runner import TorchRunner

compiles = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))
SHAPE = {"dim": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden_dim": 96, "context": 64}
KINDS: dict[str, dict] = {
    "greedy": {},
    "drawn": {"strategy": Sample(seed=3)},
    "beams": {"strategy": Beam(width=3)},
    "groups of beams": {"strategy": Beam(width=4, groups=2, diversity_penalty=0.5)},
    "contrastive": {"strategy": Contrastive(top_k=3)},
    "guesses": {"strategy": Greedy(min_new_tokens=30), "guess": Lookup(match=1)},
    "a window that slides": {"strategy": Greedy(min_new_tokens=90), "max_new_tokens": 90, "window": "slide"},
    "log-probabilities of the prompt": {"logprobs": LogprobOptions(2, prompt=True)},
}


class Flips(TorchRunner):
    """A runner whose keys and values go bad each time that their version was asked for `often` times."""

    asked = 0

    def __init__(self, network: Network, often: int) -> None:
        super().__init__(network)
        self.often = often

    @property
    def weights_version(self) -> int:  # type: ignore[override]
        """Another one now and then."""
        self.asked += 1
        return self.asked // self.often


# A window that slid takes 24 looks to be read again; a target's opening one.
@pytest.mark.parametrize(("arrangement", "often"), [("decoder", 41), ("encoder-decoder", 7)])
def test_texts_go_on_where_keys_and_values_become_invalid_again_and_again(arrangement: str, often: int):
    """Prompts in parts and rows of every kind are read again, and write what they would have written."""
    model = tiny.language_model(seed=4, **SHAPE, arrangement=arrangement)
    kinds = {name: said for name, said in KINDS.items() if arrangement == "decoder" or "window" not in name}
    expected, found = [], []
    for runner in (model.runner, Flips(model.network, often)):
        asked = [
            start(model.request("abcabc"[: 2 + at], **{"max_new_tokens": 30} | said), runner)
            for at, said in enumerate(kinds.values())
        ]
        scheduler = Scheduler(runner, chunk=3)
        for one in asked:
            scheduler.add([one])
        for _ in range(3000):  # some 300 are enough; one that never ends is to be red, too
            if not scheduler.busy:
                break
            scheduler.step()
        assert not scheduler.busy
        (expected if runner is model.runner else found).extend(asked)
    assert runner.weights_version >= 3
    for one, other in zip(expected, found, strict=True):
        assert other.error is None and (other.tokens, other.finish, other.text) == (one.tokens, one.finish, one.text)
        assert other.logprobs == pytest.approx(one.logprobs, abs=1e-4)
        assert [token.id for token in other.prompt_tokens] == [token.id for token in one.prompt_tokens]


def compiled_model() -> LanguageModel:
    model = tiny.language_model(seed=4, **SHAPE)
    model.runner = CompiledRunner(model.network.requires_grad_(False), 8)
    return model


@compiles
@pytest.mark.parametrize("runs", [0, 1, 2, 5])
def test_a_compiled_path_that_fails_on_the_way_says_so_once_and_goes_on_in_pytorch(
    runs: int, monkeypatch: pytest.MonkeyPatch
):
    """While it reads, while it writes, for many at once: what was written stays, and PyTorch writes the rest."""
    monkeypatch.setattr(progress, "_said", set())
    model, counted = compiled_model(), itertools.count()
    workspace = model.runner.compiled.workspace
    run = workspace.run

    def failing(*said: object) -> None:
        if next(counted) >= runs:
            raise RuntimeError("a thread was lost")
        run(*said)

    monkeypatch.setattr(workspace, "run", failing)
    with pytest.warns(UserWarning, match="the compiled path failed .*a thread was lost.* PyTorch") as said:
        answers = [model.generate("abc", Greedy(min_new_tokens=40), max_new_tokens=40)]
        with Engine(model, seats=9, chunk=16) as engine:
            handles = [engine.submit("xy" * 9, how.get("strategy"), max_new_tokens=20) for how in KINDS.values()]
            answers += [handle.answer(60) for handle in handles]
    assert len(said) == 1 and not model.runner.own_threads()
    plain = TorchRunner(model.network)
    first = answers[0].tokens
    for known in range(len(first)):  # where PyTorch took over, it wrote the rest
        rest = start(model.request([*answers[0].prompt, *first[:known]], Greedy(min_new_tokens=40), 40 - known), plain)
        for _ in decode(plain, [rest]):
            pass
        if rest.tokens == first[known:]:
            break
    assert known <= 8 * runs and (known == 0 or runs)
    model.runner = plain
    for answer, how in zip(answers[1:], KINDS.values(), strict=True):
        if getattr(how.get("strategy"), "seed", 0) is not None:
            assert answer.tokens == model.generate("xy" * 9, how.get("strategy"), max_new_tokens=20).tokens


@compiles
@pytest.mark.parametrize("error", [OSError("no room for a thread"), KernelError("no room for a thread")])
def test_a_compiled_path_that_cannot_be_made_says_so_and_pytorch_runs(
    error: Exception, monkeypatch: pytest.MonkeyPatch
):
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(progress, "_said", set())
    monkeypatch.setattr(choice, "CompiledRunner", fails)
    model = tiny.language_model(seed=4, **SHAPE)
    model.network.requires_grad_(False)
    with pytest.warns(UserWarning, match="no room for a thread.* PyTorch runs"):
        model.choose_runner("int8")
    assert isinstance(model.runner, TorchRunner) and model.generate("a", max_new_tokens=3).tokens
