"""airbench's own code (Jordan 2024, https://github.com/KellerJordan/cifar10-airbench) on a processor, with the photos
of `cifar10:train` and `cifar10:test`: what it reaches, and in how many CPU seconds.

    git clone https://github.com/KellerJordan/cifar10-airbench
    python -m benchmarks.airbench cifar10-airbench/airbench94_muon.py --epochs 8

One run of the file as it stands, but for what needs a GPU: its events take the time of the processor, weights are
float32 and convolutions multiply in bfloat16 (its 16-bit weights would lose small steps in bfloat16), and nothing is
compiled. It is judged once, at the end, and runs with all that this process may do: look at the file first. What is
stored lies in benchmarks/seeing.json.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.seeing import keep
from lmworks.basics.memory import keep_freed_memory
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.statistics import proportion

REPLACED = (
    ('torch.device("cuda")', 'torch.device("cpu")'),
    ("@torch.compile", ""),
    (".half()", ".float()"),
    (".cuda()", ""),
    ("fused=True", ""),
)
WIDTHS = (64, 256, 256)
"""Channels of the blocks of airbench94."""


class Event:
    """What stands for an event of CUDA: the CPU seconds of this process."""

    def __init__(self, **_: Any) -> None:
        self.seconds = 0.0

    def record(self) -> None:
        """Take the time."""
        self.seconds = time.process_time()

    def elapsed_time(self, later: Event) -> float:
        """Milliseconds of the processor from here to another event."""
        return 1e3 * (later.seconds - self.seconds)


def normalising(mean: Any, deviation: Any) -> Any:
    """torchvision's Normalize, which is all that the file takes from it."""
    return lambda images: (images - mean.view(-1, 1, 1)) / deviation.view(-1, 1, 1)


def changed(source: str, epochs: float, widths: Sequence[int] = WIDTHS) -> str:
    """The file without what needs a GPU, for as many epochs and channels. Exits where the file does not hold what is
    replaced."""
    blocks = (
        ("ceil(8 * len(train_loader))", f"ceil({epochs} * len(train_loader))"),
        ("dict(block1=64, block2=256, block3=256)", "dict(block1={}, block2={}, block3={})".format(*widths)),
    )
    for found, instead in (*REPLACED, *blocks):
        if found not in source:
            raise SystemExit(f"{found} is not in the file; this is for airbench94_muon.py")
        source = source.replace(found, instead)
    return source


def write_photos(folder: Path) -> None:
    """The photos where the file looks for them."""
    import torch

    from lmworks.text.images.cifar import cifar10

    folder.mkdir()
    for part in ("train", "test"):
        found = cifar10(part)
        images, labels = torch.from_numpy(found.images), torch.from_numpy(found.labels)
        torch.save({"images": images, "labels": labels, "classes": list(found.classes)}, folder / f"{part}.pt")


def run(path: Path, epochs: float, widths: Sequence[int], seed: int) -> dict[str, Any]:
    """A run of the file, its figures and what it took."""
    import torch

    torch.cuda.Event = Event  # type: ignore[assignment,misc]
    torch.cuda.synchronize = lambda device=None: None  # type: ignore[assignment]
    transforms: Any = ModuleType("torchvision.transforms")
    transforms.Normalize = normalising
    sys.modules.update({"torchvision": ModuleType("torchvision"), "torchvision.transforms": transforms})
    sys.modules["torchvision"].transforms = transforms  # type: ignore[attr-defined]
    torch.manual_seed(seed)
    space: dict[str, Any] = {"__name__": "airbench"}
    sys.argv = [str(path)]
    exec(compile(changed(path.read_text(), epochs, widths), str(path), "exec"), space)
    evaluate, seconds = space["evaluate"], []

    def last(model: Any, loader: Any, tta_level: int = 0) -> float:
        seconds.append(time.process_time())
        return float(evaluate(model, loader, tta_level)) if tta_level else float("nan")

    space["evaluate"] = last
    model = space["CifarNet"]().to(memory_format=torch.channels_last)
    model.forward = torch.autocast("cpu", torch.bfloat16)(model.forward)  # and not its eigenvalues
    started = time.process_time()
    views = space["main"](0, model)
    ended = time.process_time()
    test = space["CifarLoader"]("cifar10", train=False, batch_size=2000)
    plain = float(evaluate(model, test, 0))
    shares = {"accuracy, cifar10:test": plain, "accuracy by six views, cifar10:test": views}
    return {
        "cpu_seconds": round(ended - started, 1),
        "training_cpu_seconds": round(seconds[-1] - started, 1),
        "threads": torch.get_num_threads(),
        "epochs": epochs,
        "measurements": [measured(name, share, len(test.labels), seed).to_json() for name, share in shares.items()],
    }


def measured(name: str, share: float, n: int, seed: int) -> Measurement:
    """An accuracy with its interval; chance is one class of ten."""
    estimate = proportion(round(share * n), n)
    value, interval = estimate.value, estimate.interval
    return Measurement(name=name, value=value, interval=interval, n=n, seeds=(seed,), chance=0.1, ideal=1.0)


def main() -> None:
    """Run airbench's file once, and print or store its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=lambda name: Path(name).resolve(), help="airbench94_muon.py of a clone")
    parser.add_argument("--epochs", type=float, default=8.0)
    parser.add_argument("--widths", type=int, nargs=3, default=WIDTHS, help="channels of the three blocks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", action="store_true", help="add the figures to seeing.json")
    options = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        write_photos(Path("cifar10"))
        found = run(options.file, options.epochs, options.widths, options.seed)
    shape = f"--epochs {options.epochs:g} --widths {' '.join(map(str, options.widths))}"
    command = f"python -m benchmarks.airbench {options.file.name} {shape}"
    keep(f"{command} --seed {options.seed} --store", found, options.store)


if __name__ == "__main__":
    main()
