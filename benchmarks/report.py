"""Write the README's table, docs/benchmarks.md and a paragraph of docs/fast.md: `python -m benchmarks.report`.

Of the runs of a work on one kind of machine the newest counts that had the machine to itself, or whose figures no
neighbour changes. A test holds the pages beside what this would write.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.machine import ROOT, Machine
from benchmarks.store import UNTIMED, Result, Run, is_rate, stored

WIDTH = 120
BEGIN, END = "<!-- figures: python -m benchmarks.report -->\n", "<!-- end of the figures -->\n"

README = {
    "one stream, whole program": "one stream",
    "prompt of 512": "prompt of 512 tokens",
    "lora step": "LoRA step",
    "16 requests through the server, 128 + 128 tokens": "16 requests at once",
}
"""The README's four rows: works, and what they are called there."""

START = "start, processor time"
STARTS = {
    "lmworks at its first start 4 bits": "the first time, when the file is packed,",
    "lmworks in PyTorch bf16": "in PyTorch in 16 bits",
    "transformers bf16": "transformers in 16 bits",
    "llama.cpp Q4_1": "llama.cpp",
}
"""What docs/fast.md says of a start: peers in that work."""

OTHERS = {"smollm2": "SmolLM2", "qwen3-0.6b": "Qwen3-0.6B", "llama-1b": "Llama-3.2-1B", "llama-3b": "Llama-3.2-3B"}
"""Shapes of benchmarks/shapes.py, and their names."""
SECTIONS = {
    "Beside llama.cpp": (
        "SmolLM2-135M compiled, the file's 4-bit weights. Q4_1 has the same weights; Q4_0 is llama.cpp's fastest "
        "format. "
        "`python -m benchmarks.compiled`; through the engine `benchmarks.engine`, the server `benchmarks.serving`.",
        {
            "one stream, whole program": "one stream, 66 tokens read, 128 written, whole program",
            "one stream, sampled": "the same, temperature 0.8, top-p 0.95",
            "one stream, steps alone": "the same, the network alone",
            "one stream, whole program, beside 1 busy process": "one stream beside a busy process",
            "context 1,000, whole program": "one stream after 936 tokens, whole program",
            "context 1,000, steps alone": "one stream after 960 tokens, the network alone",
            "prompt of 32": "prompt of 32 tokens",
            "prompt of 128": "prompt of 128 tokens",
            "prompt of 512": "prompt of 512 tokens",
            "prompt of 1000": "prompt of 1,000 tokens",
            "prompt of 2000": "prompt of 2,000 tokens",
            "2 rows": "2 texts at once, the network alone",
            "4 rows": "4 texts at once",
            "8 rows": "8 texts at once",
            "16 rows": "16 texts at once",
            "16 requests, greedy": "16 requests through the engine",
            "16 requests, greedy, after the prompts": "the same, after the prompts are read",
            "16 requests, sampled": "16 requests through the engine, sampled",
            "16 requests through the server, 128 + 128 tokens": "16 requests through the server, 128 + 128 tokens",
            "16 requests through the server, 64 + 64 tokens": "16 requests through the server, 64 + 64 tokens",
        },
    ),
    "Beside llama.cpp in other sizes and kinds": (
        "The same file in both programs, one thread each, by processor time: SmolLM2-135M, and networks of random "
        'weights in public shapes. A stream waits for memory, of which a thread gets less beside others. "Ours in '
        'bfloat16" is the same network in that, on processors whose tiles multiply it (AMX), beside peers that read '
        "the file. `python -m benchmarks.compiled --processor --file llama-1b.q4_0`.",
        {
            f"{work}, {shape} {kind}, processor time": f"{name} {kind}, {title}"
            for shape, name in OTHERS.items()
            for kind in ("Q4_0", "Q4_K_M", "Q8_0")
            for work, title in (
                ("one stream, steps alone", "one stream"),
                ("prompt of 512", "prompt of 512 tokens"),
                ("prompt of 512, ours in bfloat16", "prompt of 512 tokens, ours in bfloat16"),
            )
        },
    ),
    "Agreement with float32": (
        "KL(float32, program), the mean over tokens of WikiText-2, SmolLM2 in each kind of file; float32 is PyTorch "
        "with the same weights. `python -m benchmarks.agreement`.",
        {f"agreement with float32, SmolLM2 {kind}": kind for kind in ("Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")},
    ),
    "Beside transformers, PEFT and sentence-transformers": (
        "Each program in the better of bfloat16 and float32 on that machine, in brackets. `python -m benchmarks`.",
        {
            "lora step": "LoRA step, rank 8, all linear layers, 4 x 256 tokens",
            "lora recomputing": "the same, activations computed again",
            "lora eager": "the same beside PEFT with eager attention",
            "decode, PyTorch": "128 tokens written after 128, PyTorch",
            "decode, compiled": "the same, compiled in 4 bits",
            "prefill, PyTorch": "prompt of 512 tokens, PyTorch",
            "prefill, compiled": "the same, compiled in 4 bits",
            "train step": "training step from nothing, 6 x 384, 16 x 256 tokens",
            "start, first token": "cold process to the first token",
            START: "the same, processor time",
            "start, 1 B": "the same, 1.07 billion weights in Q4_0",
            "start, a vector, processor time": "cold process to a question's vector, CPU seconds",
            "start, import lmworks": "`import lmworks`",
            "embed, compiled": "64 paragraphs as vectors, MiniLM, compiled in 8 bits",
            "embed, PyTorch": "the same in PyTorch",
            "beams": "translation, 16 sources, 5 beams",
            "shards": "text to packed shards, 12 MB",
            "head": "training with 50,000 words, adaptive softmax",
            "experts, forward": "a layer of experts, 2,048 tokens",
            "experts, with gradients": "the same with gradients",
            "experts, one token": "a layer of experts, one token",
        },
    ),
    "Beside lm-evaluation-harness": (
        "Items of a task in a second of processor time, one thread each: SmolLM2 compiled, in the better of the file's "
        "4 bits and bfloat16, beside the harness with transformers in the better of bfloat16 and float32, the same "
        'prompts. `python -m benchmarks "tasks,"`.',
        {
            "tasks, ARC-E, no shots, processor time": "ARC-E, no example before the question",
            "tasks, ARC-E, 5 shots, processor time": "the same after five examples",
            "tasks, BBQ, processor time": "BBQ, three choices after a context and a question",
            "tasks, BLiMP, processor time": "BLiMP, pairs of sentences",
        },
    ),
    "An index of documents": (
        "Keywords and vectors together, the ten best, every vector compared; the vector of the query is given. "
        "`python -m benchmarks grounding`.",
        {
            "grounding, search in 20k chunks": "95th percentile of a query, 20,000 chunks",
            "grounding, search in 100k chunks": "the same, 100,000 chunks",
            "grounding, search in 1M chunks": "the same, 1,000,000 chunks",
            "grounding, keywords indexed, processor time": "keywords of python-reference, parsed, by processor time",
            "grounding, vectors indexed": "64 paragraphs as vectors of an index",
            "grounding, one of 1,000 files changed": "one of 1,000 files changed: found, embedded, taken over",
        },
    ),
    "Experts": (
        "A network of random weights in OLMoE's proportions, 8 layers of 64 experts, compiled in 4 bits; one thread "
        "each, by processor time. `python -m benchmarks.experts`.",
        {
            "experts, 8 layers of 1,024, one stream, processor time": "one stream, the network alone",
            "experts, 8 layers of 1,024, prompt of 256, processor time": "prompt of 256 tokens",
        },
    ),
    "Translating": (
        "A network of random weights in the proportions of Marian's models (opus-mt), compiled in 8 bits; sources and "
        "targets of 32 tokens; one thread each, by processor time. `python -m benchmarks.translating`.",
        {
            "translating, Marian's proportions, greedy, 1 at once, processor time": "one source, greedily",
            "translating, Marian's proportions, greedy, 8 at once, processor time": "eight sources, greedily",
            "translating, Marian's proportions, 4 beams, 1 at once, processor time": "one source, four beams",
            "translating, Marian's proportions, 4 beams, 8 at once, processor time": "eight sources, four beams each",
        },
    ),
    "Parts of the compiled path": (
        "Beside the same program without the part. `python -m benchmarks.parts`; guesses `benchmarks.engine quoting`; "
        "memory `benchmarks.serving`.",
        {
            "parts, adapter, one stream": "one stream with an adapter of rank 8, beside the model alone",
            "parts, adapter, prompt of 512": "the same, prompt of 512 tokens",
            "parts, adapter, 16 rows": "the same, 16 texts at once",
            "parts, compiled adapter, one stream": "one stream with an adapter, beside PyTorch with the same one",
            "parts, compiled adapter, prompt of 512": "the same, prompt of 512 tokens",
            "parts, compiled adapter, 16 rows": "the same, 16 texts at once",
            "quoting, without corrections": "guesses with `Lookup`: copies, answers and summaries that quote",
            "quoting, all together": "the same with corrected texts",
            "memory of a request of 2,000 tokens": "a further request of 2,000 tokens in the server",
        },
    ),
}
"""docs/benchmarks.md: what each section says first, and its works with their titles. Works not listed come last."""

INTRODUCTION = """# Figures

Made from the runs in `benchmarks/results/` by `python -m benchmarks.report`; nobody types them. `python -m benchmarks
--help` lists what can be measured, and every run stores itself: all rounds, formats, versions, the commit, and how much
of the machine other programs took. A column is a kind of machine; its figures are medians of the newest run during
which others took less than 5 %, or, where processor time or no time at all is counted, of the newest. Each program
counts with its best number format there. A row "times ..." says how many times as fast lmworks is; of seconds,
megabytes and nats, how many times as small. Clouds let a machine's memory be slower at one hour than at another: ratios
within one run say more than rates, and figures of two columns were not taken in the same hour.
"""


def pages(runs: Sequence[Run]) -> dict[Path, str]:
    """The pages as they should be."""
    readme, fast = ROOT / "README.md", ROOT / "docs" / "fast.md"
    return {
        readme: filled(readme.read_text(encoding="utf-8"), readme_table(runs)),
        fast: filled(fast.read_text(encoding="utf-8"), starts(runs)),
        ROOT / "docs" / "benchmarks.md": handbook_page(runs),
    }


def filled(page: str, figures: str) -> str:
    """The page with other figures between its two marks."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + figures + END + rest.partition(END)[2]


def newest(runs: Iterable[Run]) -> dict[tuple[Machine, str], Run]:
    """For each kind of machine and work the newest run that was quiet or counted no clock's time; machines in the order
    of their own newest quiet one."""
    found: dict[tuple[Machine, str], Run] = {}
    # What counts whether quiet or not comes by its date alone.
    for run in sorted(runs, key=lambda run: (run.quiet and run.unit not in UNTIMED, run.date)):
        if run.counts:
            found.pop((run.machine, run.work), None)
            found[run.machine, run.work] = run
    return dict(reversed(found.items()))


def machines(found: dict[tuple[Machine, str], Run]) -> list[Machine]:
    """Those with runs that stored themselves first, and among these those with the newest."""
    own = {machine for (machine, _), run in found.items() if run.source is None}
    return sorted(dict.fromkeys(machine for machine, _ in found), key=lambda machine: machine not in own)


def readme_table(runs: Sequence[Run]) -> str:
    """Four works on the machine that measured all of them last, and their ratios on the others."""
    found = newest(runs)

    def measured(machine: Machine) -> tuple[int, str]:
        dates = [found[machine, work].date for work in README if (machine, work) in found]
        return len(dates), max(dates, default="")

    here = max(machines(found), key=measured)
    others = [one for one in machines(found) if one != here]
    rows = ["| work | lmworks | peer | ratio | on other processors |", "| --- | --- | --- | --- | --- |"]
    for work, title in README.items():
        run = found.get((here, work))
        if run is None:
            continue
        elsewhere = [f"{one.name} {ratios(found[one, work])}" for one in others if (one, work) in found]
        peers = ", ".join(short(one, run.unit) for one in run.peers if one.name.split()[0] != "lmworks")
        rows.append(
            f"| {title} | {short(run.ours, run.unit)} | {peers.replace(', llama.cpp', ',')} | {ratios(run)} "
            f"| {'; '.join(elsewhere)} |"
        )
    dates = sorted({found[here, work].date[:10] for work in README if (here, work) in found})
    carried = [title for work, title in README.items() if (here, work) in found and found[here, work].source]
    earlier = f" ({', '.join(carried)}: of earlier sessions)" if carried else ""
    said = f"SmolLM2-135M, tokens a second, {here.told}, {', '.join(dates)}{earlier}; medians. {by_bf16(found)}"
    return "\n" + wrapped(said) + "\n\n" + "\n".join(rows) + "\n\n"


def starts(runs: Sequence[Run]) -> str:
    """What a start costs in processor time, which neighbours change less than the clock's: the newest run counts, quiet
    or not."""
    run = max((one for one in runs if one.work == START), key=lambda one: one.date, default=None)
    if run is None:
        return "\n"
    costs = {one.name: f"{one.value:.1f} s and {one.peak_mb:,.0f} MB" for one in (run.ours, *run.peers)}
    others = (f"{title} {costs[name]}" for name, title in STARTS.items() if name in costs)
    said = (
        f"From its start to SmolLM2's first token a process takes {costs[run.ours.name]} (processor time, and the most "
        f"memory that it holds); {', '.join(others)} (medians of {len(run.rounds[run.ours.name])} in turn, "
        f"{run.machine.told}, {run.date[:10]}, `{run.command}`)."
    )
    if not run.quiet:
        said += f" Other programs took {run.others or 0:.0%} of the machine meanwhile: alone all are shorter."
    return "\n" + wrapped(said) + "\n\n"


def by_bf16(found: dict[tuple[Machine, str], Run]) -> str:
    """On which kinds of processor which ratio of a LoRA step was seen."""
    said = []
    for has, kind in ((True, "that multiply bfloat16"), (False, "that do not")):
        steps = [
            run for (machine, work), run in found.items() if work == "lora step" and ("bf16" in machine.features) is has
        ]
        if not steps:
            continue
        speeds = sorted(run.peers[0].ratio or 0 for run in steps)
        memory = sorted(one for run in steps if (one := memory_ratio(run, run.peers[0])))
        said.append(
            f"{spread(speeds, 1)} times PEFT's speed at {spread(memory, 2)} of its memory on processors {kind} "
            f"({', '.join(run.machine.name for run in steps)})"
        )
    return f"Each side of the LoRA step in the better of bfloat16 and float32: {'; '.join(said)}." if said else ""


def spread(values: Sequence[float], digits: int) -> str:
    """One figure, or the least and the most."""
    first, last = f"{values[0]:.{digits}f}", f"{values[-1]:.{digits}f}"
    return first if first == last else f"{first} to {last}"


def short(one: Result, unit: str) -> str:
    """A program and its figure in few words: "PEFT bf16 264, 2.62 GB"."""
    name = re.sub(r"^lmworks( server)?( \d bits)? ?", "", one.name)
    memory = f", {one.peak_mb / 1e3:.2f} GB" if one.peak_mb else ""
    return f"{name} {number(one.value, unit)}{memory}".strip()


def ratios(run: Run) -> str:
    """Of one run to its peers that are other programs."""
    return ", ".join(f"{one.ratio:.1f}" for one in run.peers if one.ratio and not one.name.startswith("lmworks"))


def number(value: float | None, unit: str) -> str:
    """A figure without its unit."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 or (is_rate(unit) and value >= 10) else f"{value:.3g}"


def memory_ratio(run: Run, peer: Result) -> float | None:
    """Our memory at its peak, of the peer's."""
    return run.ours.peak_mb / peer.peak_mb if run.ours.peak_mb and peer.peak_mb else None


def handbook_page(runs: Sequence[Run]) -> str:
    """docs/benchmarks.md."""
    found = newest(runs)
    columns = machines(found)
    listed = {work for _, works in SECTIONS.values() for work in works}
    rest = dict.fromkeys(sorted({work for _, work in found if work not in listed}))
    sections = SECTIONS | ({"Other": ("", {work: work for work in rest})} if rest else {})
    parts = [INTRODUCTION, "".join(f"- {one.name}: {one.told}\n" for one in columns)]
    for title, (about, works) in sections.items():
        table = section(found, columns, works)
        if table:
            parts.append(f"## {title}\n\n" + (wrapped(about) + "\n\n" if about else "") + table)
    return "\n".join([*parts, origins(found, columns)])


def section(found: dict[tuple[Machine, str], Run], columns: Sequence[Machine], works: dict[str, str]) -> str:
    """A table: rows for each work, its peers and its memory; columns without a figure are left out."""
    columns = [one for one in columns if any((one, work) in found for work in works)]
    rows = []
    for work, title in works.items():
        runs = {one: found[one, work] for one in columns if (one, work) in found}
        if runs:
            rows += rows_of(title, [runs.get(one) for one in columns])
    if not rows:
        return ""
    head = ["", *(one.name for one in columns)]
    lines = (f"| {' | '.join(row)} |\n" for row in [head, ["---"] * len(head), *rows])
    return "".join(re.sub(r"\| {2,}(?=\|)", "| ", line) for line in lines)


def rows_of(title: str, runs: Sequence[Run | None]) -> list[list[str]]:
    """The rows of one work."""
    some = [run for run in runs if run]
    programs = dict.fromkeys(program(peer.name) for run in some for peer in run.peers)
    rows = [[f"**{title}**, {some[0].unit}", *(cell(run.ours, run.unit) if run else "" for run in runs)]]
    for name in programs:
        of_it = [
            next((peer for peer in run.peers if program(peer.name) == name), None) if run else None for run in runs
        ]
        rows.append(
            [
                f"times {name}",
                *(f"{one.ratio:.2f} {form(one.name)}".strip() if one and one.ratio else "" for one in of_it),
            ]
        )
        memory = [memory_ratio(run, one) if run and one else None for run, one in zip(runs, of_it, strict=True)]
        if any(memory) and some[0].unit != "s":
            rows.append([f"memory, of {name}'s", *(f"{one:.2f}" if one else "" for one in memory)])
    return rows


FORMATS = re.compile(r" ?\b(recomputing )?(bf16|fp32|[48] bits)\b.*")
"""How the part of a name begins that says the number format."""


def program(name: str) -> str:
    """The program without the number format."""
    return FORMATS.sub("", name)


def form(name: str) -> str:
    """bf16 or fp32, in brackets; what is compiled has no choice."""
    found = FORMATS.search(name)
    return f"({found[2]})" if found and "bits" not in found[2] else ""


def cell(one: Result, unit: str) -> str:
    """Our own figure and its format."""
    return f"{number(one.value, unit)} {form(one.name)}".strip()


def origins(found: dict[tuple[Machine, str], Run], columns: Sequence[Machine]) -> str:
    """Which run each figure is from."""
    lines = ["## Where the figures are from\n"]
    for machine in columns:
        by_run: dict[str, list[str]] = {}
        for (one, work), run in found.items():
            if one == machine:
                said = f"carried over from {run.source}" if run.source else f"commit {run.commit}, `{run.command}`"
                by_run.setdefault(f"{machine.name}, {run.date[:10]}, {said}", []).append(work)
        for run_, works in sorted(by_run.items()):
            lines.append(wrapped(f"- {run_}: {'; '.join(sorted(works))}.", "  "))
    return "\n".join(lines) + "\n"


def wrapped(text: str, indent: str = "") -> str:
    """Prose in lines of WIDTH; lines after the first are indented."""
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)


def main() -> None:
    """Write both pages."""
    for path, text in pages(stored()).items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
