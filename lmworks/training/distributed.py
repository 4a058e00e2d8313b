"""Several processes as one run: gloo between CPUs, NCCL between GPUs, started by torchrun.

`training.distribution` says what each process holds: the whole network (DDP, Li et al. 2020,
https://arxiv.org/abs/2006.15704) or a part of every matrix (FSDP2: torch's `fully_shard`; Zhao et al. 2023,
https://arxiv.org/abs/2304.11277). Either way a step is the one that one process would make of the same rows: its loss
is the mean over all tokens of all ranks.
"""

from __future__ import annotations

import copy
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, LmworksError
from lmworks.models.network import Network
from lmworks.objectives import Loss, Objective
from lmworks.tokens.batch import Batch
from lmworks.training.ranks import Places, Ranks
from lmworks.training.settings import TrainingConfig
from lmworks.training.sharding import whole

T = TypeVar("T")

MEETING = timedelta(minutes=10)
"""How long ranks wait for one another in the beginning."""
PATIENCE = timedelta(hours=24)
"""How long a rank waits for another, which may be packing a large corpus. One that dies is noticed at once."""


@contextmanager
def connected() -> Iterator[Ranks]:
    """This process as one of those that torchrun started; only rank 0 shows progress."""
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    ours = not dist.is_initialized()
    try:
        if ours:
            store, rank, size = next(dist.rendezvous("env://", timeout=MEETING))
            backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    except (ValueError, RuntimeError) as error:
        why = str(error).partition("\n")[0]
        raise LmworksError(f"the processes of this run cannot meet ({why}); start them with torchrun") from error
    ranks = Processes(dist.get_rank(), dist.get_world_size(), device)
    try:
        with nullcontext() if ranks.first else progress.hidden():
            yield ranks
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error).lower():
            raise
        raise LmworksError(
            f"rank {ranks.rank} of {ranks.size} ends because another rank is gone (killed, or its own sentence says "
            "why); what was saved before is whole: go on with the same command and --resume"
        ) from error
    finally:
        if ours:
            dist.destroy_process_group()


class Processes(Ranks):
    """One of several processes."""

    def __init__(self, rank: int, size: int, device: torch.device) -> None:
        self.rank, self.size, self.device = rank, size, device
        self._replicas: DistributedDataParallel | None = None

    def together(self, work: Callable[[], T]) -> T:
        """See Ranks."""
        try:
            done, error = work(), None
        except LmworksError as raised:
            done, error = None, raised
        for rank, one in enumerate(self.gather(error)):
            if one is not None:
                raise type(one)(f"on rank {rank}: {one}") if rank else one
        return done  # type: ignore[return-value]

    def agree(self, facts: Callable[[], Mapping[str, Any]]) -> None:
        """See Ranks: the facts are compared with rank 0's, sections opened up."""
        first, *others = (_flat(one) for one in self.gather(self.together(facts)))
        for rank, other in enumerate(others, 1):
            for name in sorted({*first, *other}):
                if first.get(name) != other.get(name):
                    raise ConfigError(
                        f"the processes of this run disagree: {name} is {first.get(name)!r} on rank 0 and "
                        f"{other.get(name)!r} on rank {rank}; start all of them with the same recipe, text, folder and "
                        "code"
                    )

    def same(self, value: T) -> T:
        """See Ranks."""
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def gather(self, value: T) -> list[T]:
        """See Ranks."""
        boxes: list[Any] = [None] * self.size
        dist.all_gather_object(boxes, value)
        return boxes

    def total(self, values: Sequence[float]) -> list[float]:
        """See Ranks; counts stay exact up to 2^53."""
        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums)
        return sums.tolist()

    def check(self, config: TrainingConfig) -> None:
        """See Ranks."""
        rows = config.rows * config.accumulate
        if rows % self.size:
            raise ConfigError(
                f"a step has {rows} rows (training.rows {config.rows} x training.accumulate {config.accumulate}), "
                f"which {self.size} processes cannot share evenly; change one of the two, or start as many processes "
                f"as divide {rows}"
            )
        if config.compile and config.distribution == "fsdp":
            raise ConfigError(
                "training.compile does not go with training.distribution = 'fsdp': a compiled block would not fetch "
                "its weights; set training.compile = false, or take ddp"
            )

    def micro_batches(self, config: TrainingConfig) -> int:
        """See Ranks."""
        return config.accumulate // self._groups(config)

    def _groups(self, config: TrainingConfig) -> int:
        """Whole micro-batches are dealt out to as many groups of ranks as can be; within a group its rows are."""
        return math.gcd(config.accumulate, self.size)

    def share(self, config: TrainingConfig, micro_batches: Iterable[Places]) -> Iterator[tuple[int, list[int], bool]]:
        """See Ranks."""
        groups = self._groups(config)
        place_in_group, group = divmod(self.rank, groups)
        for epoch, places in islice(micro_batches, group, None, groups):
            mine = places[place_in_group :: self.size // groups]
            yield epoch, mine or places[:1], bool(mine)

    @contextmanager
    def holding(self, network: Network, config: TrainingConfig) -> Iterator[Network]:
        """See Ranks: replicas begin as rank 0's network."""
        for tensor in network.state_dict().values():
            dist.broadcast(tensor, src=0)
        try:
            if config.distribution == "fsdp":
                with self._sharded(network) as part:
                    yield part
            else:
                self._replicas = _replicas(_Through(network.to(self.device)))
                yield network
        finally:
            self._replicas = None
            network.to("cpu")

    @contextmanager
    def _sharded(self, network: Network) -> Iterator[Network]:
        """A network like it, whose blocks are fetched when they run; the given one holds nothing meanwhile."""
        part = _moved(network).to(self.device)
        mesh = init_device_mesh(self.device.type, (self.size,))
        policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
        for module in (*part.blocks, part):
            fully_shard(module, mesh=mesh, mp_policy=policy)
        register_fsdp_forward_method(part, "hidden")
        yield part
        for parameter, learnt in zip(network.parameters(), part.parameters(), strict=True):
            parameter.data = whole(learnt.detach()).cpu()
        for buffer, moved in zip(network.buffers(), part.buffers(), strict=True):
            buffer.copy_(moved)

    def loss(self, objective: Objective, network: Network, batch: Batch, *, last: bool) -> Loss:
        """See Ranks; gradients are exchanged only after the last micro-batch where each rank holds all of them."""
        if self._replicas is None:
            return objective(network, batch)
        self._replicas.require_backward_grad_sync = last
        loss: Loss = self._replicas(objective, batch)
        return loss

    def backward(self, share: Tensor) -> None:
        """See Ranks: torch takes the mean over ranks, and the shares are to be summed."""
        (share * self.size).backward()

    def measured(self, measure: Callable[[Network], float], network: Network) -> float:
        """See Ranks."""
        figure = self.same(measure(network))
        if isinstance(network, FSDPModule):
            network.reshard()  # a pass that nothing goes back through leaves embedding and head whole
        return figure


class _Through(nn.Module):
    """An objective's pass through a network as one module: DDP must see where it begins."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        # Reached by no loss: torch looks for such parameters at every step, and warns where it finds none.
        self.unreached = nn.Parameter(network.embedding.weight.new_zeros(()))

    def forward(self, objective: Objective, batch: Batch) -> Loss:
        return objective(self.network, batch)


def _moved(network: Network) -> Network:
    """A copy that takes the parameters away: they are never there twice."""
    data = [parameter.data for parameter in network.parameters()]
    for parameter in network.parameters():
        parameter.data = parameter.data.new_empty(0)
    moved = copy.deepcopy(network)
    for parameter, values in zip(moved.parameters(), data, strict=True):
        parameter.data = values
    return moved


def _replicas(module: _Through) -> DistributedDataParallel:
    with warnings.catch_warnings():  # torch 2.13 renames broadcast_buffers, and older ones know no other name
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(
            module,
            init_sync=False,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
            find_unused_parameters=True,  # or ranks would part silently after what a loss leaves out
        )


def _flat(facts: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        flat |= _flat(value, f"{at}{name}.") if isinstance(value, Mapping) else {f"{at}{name}": value}
    return flat
