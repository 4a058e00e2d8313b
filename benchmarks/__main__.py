"""Run workloads in turn, each in a fresh process, and print medians beside each other.

python -m benchmarks                    # all groups: decode, prefill, lora, head, embed, beams, start
python -m benchmarks decode --rounds 3
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time

from benchmarks.workloads import WORKLOADS


def measure(name: str) -> dict[str, float]:
    """Run one workload in a process of its own."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks", "--one", name], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1]) | {"seconds": seconds}


def one(name: str) -> None:
    """The workload itself, with the most memory that the process held."""
    from lmworks.basics.memory import peak_megabytes

    facts = WORKLOADS[name]()
    print(json.dumps(facts | {"peak_mb": peak_megabytes()}))


def main() -> None:
    """Alternate the workloads of each group and print their medians."""
    groups = sorted({name.partition("/")[0] for name in WORKLOADS})
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", choices=[*groups, []], help=f"{', '.join(groups)}; all unless given")
    parser.add_argument("--rounds", type=int, default=3, help="how often each workload is run")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one)
        return
    print(
        f"{platform.processor() or platform.machine()}, {platform.python_implementation()} {platform.python_version()}"
    )
    for group in options.groups or groups:
        names = [name for name in WORKLOADS if name.startswith(f"{group}/")]
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(options.rounds):
            for name in names:
                runs[name].append(measure(name))
        for name in names:
            middle = {key: statistics.median(run[key] for run in runs[name]) for key in runs[name][0]}
            rate = (
                f"{middle['rate']:8,.0f} tok/s (best {middle['best']:,.0f})"
                if "rate" in middle
                else f"{middle['seconds']:8.2f} s"
            )
            quality = f"  perplexity {middle['perplexity']:.1f}" if "perplexity" in middle else ""
            if "megabytes" in middle:
                quality = f"  {middle['megabytes']:.1f} MB/s"
            if "cosine" in middle:
                quality = f"  {middle['texts']:.1f} texts/s, smallest cosine {middle['cosine']:.6f}"
            print(f"{name:<34} {rate:<34} peak {middle['peak_mb']:7,.0f} MB{quality}", flush=True)


if __name__ == "__main__":
    main()
