"""Responses that are kept to go on with: in memory alone, bounded in number and in bytes, each for whoever asked.

    kept = KeptResponses(most=1000, most_bytes=64 * 2**20, longest=4 * 2**20)
    kept.keep(owner, response, items)           # items: all that was said before the response's own output
    kept.of(owner, "resp_...").conversation     # items to go on after
    kept.drop(owner, "resp_...")

Each holds its whole conversation, so that one can be deleted or pushed out without the others that go on after it.
Whoever has most kept makes room, so that nobody's are pushed out who has no more than an even share.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmworks.serving.api.answering import Facts
from lmworks.serving.api.response_events import written
from lmworks.serving.errors import Refused


@dataclass(frozen=True)
class KeptResponse:
    """A response and what it answered, as JSON."""

    response: bytes
    before: bytes
    """The items of the conversation up to the response's output."""

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.response) + len(self.before)

    @property
    def items(self) -> list[Facts]:
        """What it answered."""
        items: list[Facts] = json.loads(self.before)
        return items

    @property
    def conversation(self) -> list[Facts]:
        """All items, its output included. Refused where that ends in a call that was cut off."""
        output: list[Facts] = json.loads(self.response)["output"]
        if output[-1]["type"] == "function_call" and output[-1]["status"] != "completed":
            said = "the previous response ends in a call that was cut off; ask for that again, with more tokens"
            raise Refused(400, said, param="previous_response_id")
        return self.items + output


class KeptResponses:
    """All of a server's."""

    def __init__(self, most: int, most_bytes: int, longest: int) -> None:
        """`most` responses of `most_bytes` together, each of up to `longest` bytes with its conversation: as many as a
        client could send instead."""
        self._most, self._most_bytes, self._longest = most, most_bytes, min(longest, most_bytes)
        self._kept: dict[str, OrderedDict[str, KeptResponse]] = {}
        """By owner and id, of each owner the one that was used longest ago first."""
        self._bytes = Counter[str]()
        """Of each owner's."""

    @property
    def held_bytes(self) -> int:
        """All that is kept."""
        return self._bytes.total()

    def keep(self, owner: str, response: Facts, items: Sequence[Facts]) -> bool:
        """Keep a response; of whoever has most, the ones used longest ago make room. Whether it is kept: it may be too
        long, or more than its owner's share by itself."""
        made = KeptResponse(written(response), written(items))
        if made.size > self._longest or not self._most:
            return False
        self._kept.setdefault(owner, OrderedDict())[response["id"]] = made
        self._bytes[owner] += made.size
        while sum(map(len, self._kept.values())) > self._most:
            self._make_room(owner, {one: len(held) for one, held in self._kept.items()})
        while self.held_bytes > self._most_bytes:
            self._make_room(owner, self._bytes)
        return response["id"] in self._kept.get(owner, ())

    def _make_room(self, asking: str, held: Mapping[str, int]) -> None:
        """Let go of what the one with most used longest ago; of two, not the one that is asking."""
        most = max(held, key=lambda owner: (held[owner], owner != asking))
        self._remove(most, next(iter(self._kept[most])))

    def of(self, owner: str, name: str, param: str = "response_id") -> KeptResponse:
        """An owner's response. Refused (404) where there is none of this name, or of somebody else."""
        mine = self._kept.get(owner, OrderedDict())
        if name not in mine:
            said = f"there is no response {name[:80]!r} (any more); send the conversation itself as input"
            raise Refused(404, said, param=param, code="response_not_found")
        mine.move_to_end(name)
        return mine[name]

    def drop(self, owner: str, name: str) -> None:
        """Delete an owner's response. Refused as by `of`."""
        self.of(owner, name)
        self._remove(owner, name)

    def _remove(self, owner: str, name: str) -> None:
        self._bytes[owner] -= self._kept[owner].pop(name).size
        if not self._kept[owner]:
            del self._kept[owner], self._bytes[owner]
