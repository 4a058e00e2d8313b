"""Responses that are kept to go on with: in memory alone, bounded in number and in bytes, each for whoever asked.

    kept = KeptResponses(most=1000, most_bytes=64 * 2**20, longest=4 * 2**20)
    kept.keep(owner, response, items)           # items: all that was said before the response's own output
    kept.of(owner, "resp_...").conversation     # items to go on after
    kept.drop(owner, "resp_...")

Each holds its whole conversation, so that one can be deleted or pushed out without the others that go on after it.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
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
        self._kept: OrderedDict[tuple[str, str], KeptResponse] = OrderedDict()
        """By owner and id, the one that was used longest ago first."""
        self.held_bytes = 0

    def keep(self, owner: str, response: Facts, items: Sequence[Facts]) -> bool:
        """Keep a response; the ones used longest ago make room. Whether it is kept, and not too long for that."""
        made = KeptResponse(written(response), written(items))
        if made.size > self._longest or not self._most:
            return False
        self._kept[owner, response["id"]] = made
        self.held_bytes += made.size
        while len(self._kept) > self._most or self.held_bytes > self._most_bytes:
            _, old = self._kept.popitem(last=False)
            self.held_bytes -= old.size
        return True

    def of(self, owner: str, name: str, param: str = "response_id") -> KeptResponse:
        """An owner's response. Refused (404) where there is none of this name, or of somebody else."""
        if (found := self._kept.get((owner, name))) is None:
            said = f"there is no response {name[:80]!r} (any more); send the conversation itself as input"
            raise Refused(404, said, param=param, code="response_not_found")
        self._kept.move_to_end((owner, name))
        return found

    def drop(self, owner: str, name: str) -> None:
        """Delete an owner's response. Refused as by `of`."""
        self.held_bytes -= self.of(owner, name).size
        del self._kept[owner, name]
