"""Many requests through the engine, beside llama.cpp; guesses from the prompt; memory of a request. SmolLM2-135M.

python -m benchmarks.engine                            # everything, three rounds
python -m benchmarks.engine "16 requests" --rounds 5

Prompts are paragraphs and questions of XQuAD (`LMWORKS_DATA` names the folder above `xquad/`), 128 tokens each, and as many
tokens are written for each. Ours is the whole engine, with sampler, streams and texts; llama.cpp is called as in
`benchmarks.compiled`, a bare loop that takes the likeliest token. "all" counts the tokens written over the time from the first
prompt on; "behind" those written after the last prompt was read, over the time since. Medians, least and most over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.compiled import Compiled, engines, ids

AT_ONCE, SIZE, NEW = 16, 128, 128
LONG = 2048


def paragraphs() -> list[tuple[str, str]]:
    """XQuAD's English paragraphs, each with its first question."""
    for folder in os.environ.get("LMWORKS_DATA", "").split(os.pathsep):
        path = Path(folder) / "xquad" / "xquad.en.json"
        if path.is_file():
            articles = json.loads(path.read_text(encoding="utf-8"))["data"]
            return [
                (one["context"], one["qas"][0]["question"]) for article in articles for one in article["paragraphs"]
            ]
    raise SystemExit("there is no xquad/xquad.en.json in a folder of LMWORKS_DATA; fetch it from google-deepmind/xquad")


def prompts(model: Any, count: int, size: int) -> list[list[int]]:
    """Ends of paragraphs with a question, `size` tokens each."""
    found = []
    for context, question in paragraphs():
        read = model.tokenizer.encode(f"{context}\nQuestion: {question}\nAnswer:")
        if len(read) >= size:
            found.append(read[-size:])
        if len(found) == count:
            return found
    raise SystemExit(f"XQuAD has {len(found)} paragraphs of {size} tokens and {count} are asked for")


def peer_requests(peer: Any, read: list[list[int]]) -> tuple[float, float]:
    """llama.cpp's two rates, all and behind."""
    start = time.perf_counter()
    peer.clear(len(read))
    tokens = peer.read(read)
    middle = time.perf_counter()
    for _ in range(NEW - 1):
        tokens = peer.read([[token] for token in tokens])
    end = time.perf_counter()
    return len(read) * NEW / (end - start), len(read) * (NEW - 1) / (end - middle)


def our_requests(model: Any, read: list[list[int]], sampled: bool) -> tuple[float, float]:
    """The engine's two rates."""
    from lmworks.generation.engine import Engine
    from lmworks.generation.strategies import Greedy, Sample

    with Engine(model, seats=len(read), prefix_bytes=0) as engine:
        start = time.perf_counter()
        handles = [
            engine.submit(
                one, Sample(temperature=0.8, top_p=0.95, seed=at) if sampled else Greedy(), max_new_tokens=NEW
            )
            for at, one in enumerate(read)
        ]
        while any(handle.first is None for handle in handles):
            time.sleep(0.001)
        middle, before = time.perf_counter(), sum(len(handle.sequence.tokens) for handle in handles)
        for handle in handles:
            handle.answer()
        end = time.perf_counter()
    return len(read) * NEW / (end - start), (len(read) * NEW - before) / (end - middle)


def many(candidates: dict[str, Any], rounds: int, sampled: bool) -> None:
    """16 requests on every engine in turn."""
    ours = candidates["lmworks"].model
    ends = ours.tokenizer.stop_ids
    ours.tokenizer.__dict__["stop_ids"] = frozenset()  # always as many tokens
    read = prompts(ours, AT_ONCE, SIZE)
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    for round_ in range(rounds + 1):
        for name, one in candidates.items():
            found = our_requests(ours, read, sampled) if isinstance(one, Compiled) else peer_requests(one, read)
            if round_:
                rates[name].append(found)
    ours.tokenizer.__dict__["stop_ids"] = ends
    for place, what in enumerate(("all", "behind")):
        middle = {name: statistics.median(one[place] for one in found) for name, found in rates.items()}
        for name, found in rates.items():
            least, most = min(one[place] for one in found), max(one[place] for one in found)
            ratio = "" if name == "lmworks" else f"   ours {middle['lmworks'] / middle[name]:.2f} times"
            print(f"{what:<8} {name:<16} {middle[name]:8,.0f}  ({least:,.0f} ... {most:,.0f}){ratio}", flush=True)


QUOTING = {
    "copy a sentence": "Text:\n{context}\n\nQuestion: {question}\n\nCopy the sentence of the text that answers the question, word for "
    "word, in quotation marks.",
    "answer by a sentence": "{context}\n\nQuote the sentence that answers this question: {question}",
    "summary": "Summarize the following text in its own words and sentences.\n\n{context}",
    "correct the text": "Rewrite the following text, with only its spelling mistakes corrected.\n\n{context}",
}


def quoting(candidates: dict[str, Any], rounds: int) -> None:
    """One stream, answers that quote their prompt, with guesses and without; shares are of the tokens guessed and written."""
    from lmworks.generation.decoding import decode, start
    from lmworks.generation.guessing import Lookup

    model = candidates["lmworks"].model
    chosen = paragraphs()[::20]
    took: list[tuple[float, float]] = []
    for what, form in QUOTING.items():
        asked = [[{"role": "user", "content": form.format(context=c, question=q)}] for c, q in chosen]
        rates: dict[bool, list[float]] = {False: [], True: []}
        for round_ in range(rounds + 1):
            for guesses in (False, True):
                written = seconds = guessed = kept = 0.0
                for one in asked:
                    request = model.request(one, None, NEW, guess=Lookup() if guesses else None)
                    sequence = start(request, model.runner)
                    steps = decode(model.runner, [sequence])
                    next(steps)
                    begin = time.perf_counter()
                    for _ in steps:
                        pass
                    seconds += time.perf_counter() - begin
                    written += len(sequence.tokens) - 1
                    guessed, kept = guessed + sequence.tried, kept + sequence.kept
                if round_:
                    rates[guesses].append(written / seconds)
        plain, faster = (statistics.median(rates[guesses]) for guesses in (False, True))
        took.append((written / plain, written / faster))
        print(
            f"{what:<22} {plain:6,.0f} -> {faster:6,.0f} tokens a second: {faster / plain:.2f} times; {written:,.0f} tokens, "
            f"{kept:,.0f} of {guessed:,.0f} guesses kept ({kept / max(guessed, 1):.0%}), {kept / written:.0%} of the answer",
            flush=True,
        )
    for what, count in (("without corrections", len(took) - 1), ("all together", len(took))):
        before, after = map(sum, zip(*took[:count], strict=True))
        print(f"{what:<22} {before / after:.2f} times", flush=True)


def steps(candidates: dict[str, Any], rounds: int) -> None:
    """What a step takes by the tokens that it reads behind 400, without what passes in Python for each run, beside a token that is
    written in a run of eight: models/lookup.py's COSTS."""
    import numpy as np
    import torch

    from lmworks.models.runner import Row, TokenChoice

    runner = candidates["lmworks"].model.runner
    choice, nobody = TokenChoice(logprobs=True), np.zeros(1, np.int64)
    with torch.inference_mode():
        cache = runner.new_cache(1)
        runner.read(torch.tensor([ids(400)]), cache)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as where the engine writes
    found: dict[str, list[float]] = {}
    for round_ in range(40 * rounds + 10):
        for tokens, ahead in [(1, 8), *((count, 1) for count in (*range(1, 17), 20, 24, 32))]:
            start = time.perf_counter()
            row = Row(ids(tokens, start=400), choice, [0.0] * max(ahead, tokens))
            runner.write([row], cache, ahead, nobody)
            took = (time.perf_counter() - start) / ahead
            cache.cut([cache.sizes[0] - 400])
            if round_ >= 10:
                found.setdefault("written" if ahead > 1 else str(tokens), []).append(took)
    torch.set_num_threads(threads)
    middle = {what: statistics.median(one) for what, one in found.items()}
    outside = middle["1"] - middle["written"]
    for what, seconds in middle.items():
        inside = seconds if what == "written" else seconds - outside
        print(f"{what:>8} {1e3 * seconds:6.2f} ms  {inside / middle['written']:.2f}", flush=True)


def memory(candidates: dict[str, Any], rounds: int) -> None:
    """What the process holds for each further request of 2,048 tokens, beside its keys and values."""
    from lmworks.generation.engine import Engine
    from lmworks.generation.strategies import Greedy

    model = candidates["lmworks"].model
    config = model.config
    words = [token for one in prompts(model, 60, SIZE) for token in one]

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    new = LONG - 1_984
    with Engine(model, seats=8, prefix_bytes=0) as engine:
        held = []
        for count in (1, 1, 2, 4, 8):
            handles = [
                engine.submit(words[at * 700 : at * 700 + 1_984], Greedy(min_new_tokens=new), max_new_tokens=new)
                for at in range(count)
            ]
            most = [0.0, 0.0]
            while any(handle.ended is None for handle in handles):
                most = [max(most[0], resident()), max(most[1], engine.state.cache_bytes / 2**20)]
                time.sleep(0.01)
            held.append((count, *most))
            print(f"{count} requests: process {most[0]:,.1f} MB, keys and values {most[1]:,.1f} MB", flush=True)
    (_, few, _), (_, many_, _) = held[1], held[-1]
    element = 2
    own = 2 * config.layers * config.kv_heads * config.head_dim * element * LONG / 2**20
    each = (many_ - few) / 7
    print(f"each further one {each:.2f} MB; its keys and values {own:.2f} MB in 16 bits: {each / own:.2f} times")


TESTS: dict[str, Callable[[dict[str, Any], int], None]] = {
    "16 requests, greedy": lambda candidates, rounds: many(candidates, rounds, sampled=False),
    "16 requests, sampled": lambda candidates, rounds: many(candidates, rounds, sampled=True),
    "quoting": quoting,
    "steps": steps,
    "memory": memory,
}


def main() -> None:
    """Every test in turn; the first round is not counted."""
    from lmworks.kernels.library import library
    from lmworks.kernels.team import usable_cores

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tests", nargs="*", help=f"beginnings of: {', '.join(TESTS)}")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    chosen = {name: test for name, test in TESTS.items() if not options.tests or name.startswith(tuple(options.tests))}
    threads = usable_cores()
    beside = any(name.startswith("16") for name in chosen)
    candidates = engines(threads) if beside else {"lmworks": Compiled()}
    print(f"{library().instructions}, {threads} threads, {options.rounds} rounds", flush=True)
    for name, test in chosen.items():
        print(f"{name}:", flush=True)
        test(candidates, options.rounds)


if __name__ == "__main__":
    main()
