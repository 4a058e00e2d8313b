"""Recurrent layers: LSTM, GRU or tanh over rows that may have padding anywhere, or several packed documents.

Only real tokens are read. A row's real tokens are put side by side as a run, packed documents as a run each, so that
padding changes no state and each document begins with a state of its own. The cells are torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lmworks.basics.arrays import Bool, Float, Int
from lmworks.models.hooks import HookPoint

Hidden = Float[Tensor, "batch seq hidden"]
State = Float[Tensor, "parts layers batch hidden"]
"""What the layers carry on: one part (what they give out), of an LSTM two (its memory cells too)."""

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "tanh": nn.RNN}
GATES = {"lstm": 4, "gru": 3, "tanh": 1}


@dataclass(frozen=True)
class Runs:
    """Which tokens are read one after another."""

    real: Bool[Tensor, "batch seq"]
    run: Int[Tensor, " tokens"]
    """Of each real token, row by row."""
    place: Int[Tensor, " tokens"]
    """Within its run."""
    lengths: Int[Tensor, " runs"]
    row: Int[Tensor, " runs"]
    """The row of the batch that each run lies in."""

    @classmethod
    def of(
        cls, real: Bool[Tensor, "batch seq"] | None, documents: Int[Tensor, "batch seq"] | None, like: Tensor
    ) -> Runs | None:
        """None where each row is one run without padding, as in most batches of a training."""
        if real is not None and bool(real.all()):
            real = None
        if documents is not None and bool((documents == documents[:, :1]).all()):
            documents = None
        if real is None and documents is None:
            return None
        real = torch.ones_like(like, dtype=torch.bool) if real is None else real
        row = real.nonzero()[:, 0]
        starts = torch.ones_like(row, dtype=torch.bool)
        starts[1:] = row[1:] != row[:-1]
        if documents is not None:
            numbers = documents[real]
            starts[1:] |= numbers[1:] != numbers[:-1]
        first = starts.nonzero()[:, 0]
        run = starts.cumsum(0) - 1
        lengths = torch.diff(first, append=first.new_tensor([len(row)]))
        return cls(real, run, torch.arange(len(row), device=row.device) - first[run], lengths, row[first])

    def gathered(self, x: Float[Tensor, "batch seq width"]) -> Float[Tensor, "runs longest width"]:
        """The runs below one another, each from the left."""
        padded = x.new_zeros(len(self.lengths), int(self.lengths.max()), x.shape[-1])
        return padded.index_put((self.run, self.place), x[self.real])

    def scattered(self, x: Float[Tensor, "runs longest width"]) -> Float[Tensor, "batch seq width"]:
        """The way back; zeros on padding."""
        every = x.new_zeros(*self.real.shape, x.shape[-1])
        return every.masked_scatter(self.real[..., None], x[self.run, self.place])


class Layer(nn.Module):
    """One layer of cells, in one direction or in both, which share the width then."""

    def __init__(self, cell: str, inputs: int, hidden: int, bidirectional: bool) -> None:
        super().__init__()
        width = hidden // 2 if bidirectional else hidden
        self.cell = CELLS[cell](inputs, width, batch_first=True, bidirectional=bidirectional)
        self.output_point = HookPoint()

    def forward(
        self, x: Float[Tensor, "batch seq inputs"], state: Float[Tensor, "parts batch hidden"], runs: Runs | None
    ) -> tuple[Hidden, Float[Tensor, "parts batch hidden"]]:
        """What each step gives out, and the state after each row's last real token."""
        if runs is None:
            out, last = self.cell(x, self._theirs(state))
            return self.output_point(out), self._ours(last)
        if not len(runs.lengths):
            return self.output_point(x.new_zeros(*x.shape[:2], state.shape[-1])), state
        packed = pack_padded_sequence(runs.gathered(x), runs.lengths.cpu(), batch_first=True, enforce_sorted=False)
        out, last = self.cell(packed, self._theirs(state[:, runs.row]))
        out = runs.scattered(pad_packed_sequence(out, batch_first=True)[0])
        ends = torch.ones_like(runs.row, dtype=torch.bool)
        ends[:-1] = runs.row[1:] != runs.row[:-1]  # of packed documents, the row's last
        return self.output_point(out), state.index_copy(1, runs.row[ends], self._ours(last)[:, ends])

    def _theirs(self, state: Float[Tensor, "parts batch hidden"]) -> Tensor | tuple[Tensor, ...]:
        """Directions first, parts apart."""
        directions = 2 if self.cell.bidirectional else 1
        parts = tuple(part.unflatten(-1, (directions, -1)).transpose(0, 1).contiguous() for part in state)
        return parts if len(parts) > 1 else parts[0]

    def _ours(self, last: Tensor | tuple[Tensor, ...]) -> Float[Tensor, "parts batch hidden"]:
        parts = last if isinstance(last, tuple) else (last,)
        return torch.stack([part.transpose(0, 1).flatten(1) for part in parts])


class Recurrence(nn.Module):
    """Layers above one another."""

    def __init__(
        self, cell: str, inputs: int, hidden: int, layers: int, dropout: float, bidirectional: bool = False
    ) -> None:
        super().__init__()
        self.layers: Sequence[Layer] = nn.ModuleList(  # type: ignore[assignment]
            Layer(cell, hidden if layer else inputs, hidden, bidirectional) for layer in range(layers)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch seq inputs"], state: State, runs: Runs | None = None
    ) -> tuple[Hidden, State]:
        """What the last layer gives out, and the state of all layers after each row's last real token."""
        states = []
        for number, layer in enumerate(self.layers):
            x, last = layer(self.dropout(x) if number else x, state[:, number], runs)
            states.append(last)
        return x, torch.stack(states, dim=1)


@torch.no_grad()
def initialise_cells(module: nn.Module, generator: torch.Generator) -> None:
    """Fresh weights for torch's cells: what reads the input by Glorot & Bengio 2010, what carries the state on
    orthogonal gate by gate (Saxe et al. 2013), biases zero but for an LSTM's forget gate, whose is 1 (Jozefowicz et al.
    2015)."""
    for cell in module.modules():
        if not isinstance(cell, nn.RNNBase):
            continue
        gates = GATES[next(name for name, kind in CELLS.items() if type(cell) is kind)]
        for name, weight in cell.named_parameters():
            if "bias" in name:
                weight.zero_()
                if isinstance(cell, nn.LSTM) and name.startswith("bias_ih"):
                    weight[cell.hidden_size : 2 * cell.hidden_size] = 1.0
            else:
                for gate in weight.chunk(gates):
                    drawn = torch.empty(gate.shape)  # bfloat16 has no orthogonal matrices
                    fill = nn.init.xavier_uniform_ if "weight_ih" in name else nn.init.orthogonal_
                    gate.copy_(fill(drawn, generator=generator))
