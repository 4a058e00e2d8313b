"""Many requests through the engine, beside llama.cpp; guesses from the prompt; what a step costs. SmolLM2-135M.

python -m benchmarks.engine                            # everything, three rounds
python -m benchmarks.engine "16 requests" --rounds 5

Prompts are paragraphs and questions of XQuAD (`LMWORKS_DATA` names the folder above `xquad/`), 128 tokens each, and as
many tokens are written for each. Ours is the whole engine, with sampler, streams and texts; llama.cpp is called as in
`benchmarks.compiled`, a bare loop that takes the likeliest token. "16 requests" counts the tokens written over the
time from the first prompt on; "after the prompts" those written after the last prompt was read, over the time since.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.programs import Compiled, programs
from benchmarks.store import Recorder, Timed
from benchmarks.work import data, token_ids

AT_ONCE, SIZE, NEW = 16, 128, 128


def paragraphs() -> list[tuple[str, str]]:
    """XQuAD's English paragraphs, each with its first question."""
    articles = json.loads(data("xquad/xquad.en.json", "google-deepmind/xquad").read_text(encoding="utf-8"))["data"]
    return [(one["context"], one["qas"][0]["question"]) for article in articles for one in article["paragraphs"]]


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
    """llama.cpp's two rates: from the first prompt on, and after the last."""
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


def many(candidates: list[Any], rounds: int, recorder: Recorder, sampled: bool) -> None:
    """16 requests on every program in turn; the first round is not counted."""
    ours = candidates[0].model
    ends = ours.tokenizer.stop_ids
    candidates[0].never_stop()
    read = prompts(ours, AT_ONCE, SIZE)
    rates: list[list[tuple[float, float]]] = [[] for _ in candidates]
    for round_ in range(rounds + 1):
        for one, found in zip(candidates, rates, strict=True):
            rate = our_requests(ours, read, sampled) if isinstance(one, Compiled) else peer_requests(one, read)
            if round_:
                found.append(rate)
    ours.tokenizer.__dict__["stop_ids"] = ends
    how = "sampled" if sampled else "greedy"
    for place, what in enumerate((f"16 requests, {how}", f"16 requests, {how}, after the prompts")):
        timed = [
            Timed(one.program, [rate[place] for rate in found], one.format)
            for one, found in zip(candidates, rates, strict=True)
        ]
        recorder.keep(what, "tokens/s", timed)


QUOTING = {
    "copy a sentence": "Text:\n{context}\n\nQuestion: {question}\n\nCopy the sentence of the text that answers the "
    "question, word for word, in quotation marks.",
    "answer by a sentence": "{context}\n\nQuote the sentence that answers this question: {question}",
    "summary": "Summarize the following text in its own words and sentences.\n\n{context}",
    "correct the text": "Rewrite the following text, with only its spelling mistakes corrected.\n\n{context}",
}


def quoting(candidates: list[Any], rounds: int, recorder: Recorder) -> None:
    """One stream, answers that quote their prompt, with guesses and without."""
    chosen = paragraphs()[::20]
    seconds: dict[bool, list[list[float]]] = {False: [], True: []}
    tokens: list[float] = []
    for what, form in QUOTING.items():
        asked = [[{"role": "user", "content": form.format(context=c, question=q)}] for c, q in chosen]
        took: dict[bool, list[float]] = {False: [], True: []}
        for round_ in range(rounds + 1):
            for guesses in (False, True):
                written, guessed, kept, time_taken = answers(candidates[0].model, asked, guesses)
                if round_:
                    took[guesses].append(time_taken)
        facts = {"kept": round(kept / max(guessed, 1), 3), "of_the_answer": round(kept / written, 3)}
        recorder.keep(f"quoting, {what}", "tokens/s", guessing(took, written, facts))
        tokens.append(written)
        for guesses, found in took.items():
            seconds[guesses].append(found)
    for what, count in (("without corrections", len(QUOTING) - 1), ("all together", len(QUOTING))):
        sums = {guesses: [sum(each) for each in zip(*found[:count], strict=True)] for guesses, found in seconds.items()}
        recorder.keep(f"quoting, {what}", "tokens/s", guessing(sums, sum(tokens[:count]), {}))


def guessing(took: dict[bool, list[float]], written: float, facts: dict[str, float]) -> list[Timed]:
    """With `Lookup` and without it, from the seconds of each round."""
    return [
        Timed(name, [written / seconds for seconds in took[guesses]], facts=facts if guesses else {})
        for guesses, name in ((True, "lmworks with Lookup"), (False, "lmworks without"))
    ]


def answers(model: Any, asked: list[Any], guesses: bool) -> tuple[float, float, float, float]:
    """Tokens written, guessed and guessed right, and the seconds of writing, prompts left out."""
    from lmworks.generation.decoding import decode, start
    from lmworks.generation.guessing import Lookup

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
    return written, guessed, kept, seconds


def steps(candidates: list[Any], rounds: int, recorder: Recorder) -> None:
    """What a step of several tokens costs, beside a token written in a run of eight: models/lookup.py's COSTS.

    400 tokens have been read before. What passes in Python for each run is taken off.
    """
    import numpy as np
    import torch

    from lmworks.models.runner import Row, TokenChoice

    runner = candidates[0].model.runner
    choice, nobody = TokenChoice(logprobs=True), np.zeros(1, np.int64)
    with torch.inference_mode():
        cache = runner.new_cache(1)
        runner.read(torch.tensor([token_ids(400)]), cache)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as where the engine writes
    found: dict[str, list[float]] = {}
    for round_ in range(40 * rounds + 10):
        for tokens, ahead in [(1, 8), *((count, 1) for count in (*range(1, 17), 20, 24, 32))]:
            start = time.perf_counter()
            row = Row(token_ids(tokens, start=400), choice, [0.0] * max(ahead, tokens))
            runner.write([row], cache, ahead, nobody)
            took = (time.perf_counter() - start) / ahead
            cache.cut([cache.sizes[0] - 400])
            if round_ >= 10:
                found.setdefault("written" if ahead > 1 else str(tokens), []).append(took)
    torch.set_num_threads(threads)
    outside = statistics.median(found["1"]) - statistics.median(found["written"])
    timed = [
        Timed(
            "a written token" if what == "written" else f"a step of {what}",
            [1e3 * statistics.median(one) - (0 if what == "written" else 1e3 * outside)],
        )
        for what, one in found.items()
    ]
    recorder.keep("steps of several tokens", "ms", timed)


TESTS: dict[str, Callable[[list[Any], int, Recorder], None]] = {
    "16 requests, greedy": lambda candidates, rounds, recorder: many(candidates, rounds, recorder, sampled=False),
    "16 requests, sampled": lambda candidates, rounds, recorder: many(candidates, rounds, recorder, sampled=True),
    "quoting": quoting,
    "steps": steps,
}


def main() -> None:
    """Every test in turn."""
    from lmworks.basics.ahead import usable_cores
    from lmworks.kernels.run.library import library

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", help=f"beginnings of: {'; '.join(TESTS)}")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    chosen = {name: test for name, test in TESTS.items() if not options.tests or name.startswith(tuple(options.tests))}
    threads = usable_cores()
    beside = any(name.startswith("16") for name in chosen)
    candidates, recorder = programs(threads) if beside else [Compiled()], Recorder()
    print(f"{library().instructions}, {threads} threads, {options.rounds} rounds", flush=True)
    for test in chosen.values():
        test(candidates, options.rounds, recorder)


if __name__ == "__main__":
    main()
