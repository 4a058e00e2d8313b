"""The answer of /v1/responses in the making: the chat route's chunks become output items, and events that tell of them.

    writer = ResponseWriter(asked.echo, "smollm2", keep)
    writer.begin()                  # response.created, response.in_progress
    writer.take(choice)             # a choice of a chat's chunk: items begin, go on and end
    writer.end(usage)               # the last item ends; response.completed or response.incomplete
    writer.facts                    # the response

Each returns events lazily; they tell of the response as it is when they are taken, so take each before the next.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator

from lmworks.serving.api.answering import Facts
from lmworks.serving.errors import Refused


class ResponseWriter:
    """One response, from its first event to its last."""

    def __init__(self, echo: Facts, model: str, done: Callable[[Facts], None]) -> None:
        """`echo` is what it tells of its request; `done` is called with it before its last event."""
        self._done = done
        self.facts: Facts = {
            "id": f"resp_{secrets.token_hex(24)}",
            "object": "response",
            "created_at": int(time.time()),
            "completed_at": None,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "model": model,
            "output": [],
            "usage": None,
        } | echo
        self._numbers = 0
        self._finish: str | None = None

    def begin(self) -> Iterator[Facts]:
        """Before the first word."""
        yield self._event("response.created", response=self.facts)
        yield self._event("response.in_progress", response=self.facts)

    def take(self, choice: Facts) -> Iterator[Facts]:
        """More of the answer: a choice of a chunk of the chat route."""
        delta, logprobs = choice["delta"], choice["logprobs"]
        text, logged = delta.get("content") or "", [] if logprobs is None else logprobs["content"]
        if text or logged:
            yield from self._say(text, logged)
        for call in delta.get("tool_calls", ()):
            yield from self._call(call)
        cited = {name: delta[name] for name in ("citations", "grounding") if name in delta}
        if cited:
            yield from self._say("", [])
            self._item.update(cited)
        self._finish = choice["finish_reason"] or self._finish

    def end(self, usage: Facts) -> Iterator[Facts]:
        """Nothing more comes; `usage` as the chat route tells it."""
        whole = self._finish != "length"
        if not self.facts["output"]:
            yield from self._say("", [])
        yield from self._close("completed" if whole else "incomplete")
        self.facts |= {"status": "completed" if whole else "incomplete", "usage": _usage(usage)}
        self.facts["completed_at"] = int(time.time()) if whole else None
        self.facts["incomplete_details"] = None if whole else {"reason": "max_output_tokens"}
        self._done(self.facts)
        yield self._event("response.completed" if whole else "response.incomplete", response=self.facts)

    def fail(self, why: Refused) -> Iterator[Facts]:
        """It comes to no end, and the status is sent already."""
        said = why.facts["error"]
        yield self._event("error", **{name: said[name] for name in ("code", "message", "param")})
        self.facts |= {"status": "failed", "error": {"code": "server_error", "message": said["message"]}}
        yield self._event("response.failed", response=self.facts)

    @property
    def _item(self) -> Facts:
        """The item that is being written."""
        item: Facts = self.facts["output"][-1]
        return item

    @property
    def _place(self) -> Facts:
        """Where the item is, as events tell it."""
        return {"item_id": self._item["id"], "output_index": len(self.facts["output"]) - 1}

    def _event(self, kind: str, **facts: object) -> Facts:
        self._numbers += 1
        return {"type": kind, "sequence_number": self._numbers - 1, **facts}

    def _open(self, item: Facts) -> Iterator[Facts]:
        if self.facts["output"]:
            yield from self._close("completed")
        self.facts["output"].append(item)
        yield self._event("response.output_item.added", output_index=self._place["output_index"], item=item)

    def _say(self, text: str, logged: list[Facts]) -> Iterator[Facts]:
        """Words, which come before calls."""
        if not self.facts["output"]:
            item = {"id": f"msg_{secrets.token_hex(24)}", "type": "message", "status": "in_progress"}
            yield from self._open(item | {"role": "assistant", "content": []})
            part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
            self._item["content"].append(part)
            yield self._event("response.content_part.added", **self._place, content_index=0, part=part)
        if text or logged:
            [part] = self._item["content"]
            part["text"] += text
            part["logprobs"] += logged
            told = {"content_index": 0, "delta": text, "logprobs": logged}
            yield self._event("response.output_text.delta", **self._place, **told)

    def _call(self, call: Facts) -> Iterator[Facts]:
        """A call that begins, or more of its arguments."""
        function = call["function"]
        if "id" in call:
            item = {"id": f"fc_{secrets.token_hex(24)}", "type": "function_call", "status": "in_progress"}
            yield from self._open(item | {"call_id": call["id"], "name": function["name"], "arguments": ""})
        if function["arguments"]:
            self._item["arguments"] += function["arguments"]
            kind = "response.function_call_arguments.delta"
            yield self._event(kind, **self._place, delta=function["arguments"])

    def _close(self, status: str) -> Iterator[Facts]:
        """The item is over."""
        item, place = self._item, self._place
        if item["type"] == "message":
            [part] = item["content"]
            place |= {"content_index": 0}
            told = {"text": part["text"], "logprobs": part["logprobs"]}
            yield self._event("response.output_text.done", **place, **told)
            yield self._event("response.content_part.done", **place, part=part)
        else:
            told = {"name": item["name"], "arguments": item["arguments"]}
            yield self._event("response.function_call_arguments.done", **place, **told)
        item["status"] = status
        yield self._event("response.output_item.done", output_index=place["output_index"], item=item)


def encoded(event: Facts) -> bytes:
    """One server-sent event, with its name."""
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), written(event))


def written(facts: object) -> bytes:
    """As JSON. ASCII alone, so that whatever the request held can be told."""
    return json.dumps(facts, separators=(",", ":")).encode()


def _usage(usage: Facts) -> Facts:
    cached = usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage["total_tokens"],
    }
