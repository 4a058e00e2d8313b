"""Another server that speaks OpenAI's API and nothing of ours: it serves the chat page's files and says what it is told
to, so that a test knows what a model writes."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lmworks.serving.page.files import files, policy

FIELDS = {"model", "messages", "stream", "temperature", "top_p", "max_tokens", "seed"}
"""What it knows; anything else is an error."""
ENDLESS = "endless"
"""Asked this, it writes until its client leaves."""


class Other:
    """What it was asked, and what it says."""

    def __init__(self) -> None:
        self.address = ""
        self.answers: dict[str, str] = {}
        self.ends: dict[str, str] = {}
        """Why the answer to a message ends, unless because it is whole."""
        self.asked: list[dict[str, Any]] = []
        self.left = threading.Event()
        """A client went away while it was written to."""


class Handler(http.server.BaseHTTPRequestHandler):
    """A page, its scripts and two models, and answers a word at a time."""

    other: Other

    def log_message(self, *said: object) -> None:
        pass

    def send(self, content: bytes, kind: str = "application/json", status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(content)}.items():
            self.send_header(name, str(value))
        self.send_header("Content-Security-Policy", policy())
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].removeprefix("/page/")
        if self.path == "/v1/models":
            self.send(json.dumps({"data": [{"id": "one", "object": "model"}, {"id": "two"}]}).encode())
        elif name in files():
            self.send(files()[name], "text/javascript")
        else:
            code = "de" if "lang=de" in self.path else "en"
            self.send(files()[f"index.{code}.html"], "text/html; charset=utf-8")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.other.asked.append(body)
        asked = next(one["content"] for one in reversed(body["messages"]) if one["role"] == "user")
        if unknown := set(body) - FIELDS - {"add_generation_prompt", "continue_final_message"}:
            self.send(json.dumps({"error": {"message": f"unknown: {unknown}"}}).encode(), status=400)
            return
        if asked not in self.other.answers and asked != ENDLESS:
            self.send(json.dumps({"error": {"message": "nothing is known of this"}}).encode(), status=500)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            self.write(asked)
        except (BrokenPipeError, ConnectionResetError):
            self.other.left.set()

    def write(self, asked: str) -> None:
        text = self.other.answers.get(asked, "word ")
        while asked == ENDLESS:
            self.event({"delta": {"content": text}, "finish_reason": None})
            self.other.left.wait(0.01)
        step = max(len(text) // 40, 3)
        for at in range(0, len(text), step):
            self.event({"delta": {"content": text[at : at + step]}, "finish_reason": None})
        self.event({"delta": {}, "finish_reason": self.other.ends.get(asked, "stop")})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, choice: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps({'choices': [{'index': 0} | choice]})}\n\n".encode())


@contextmanager
def other_server() -> Iterator[Other]:
    """Serve while the block runs."""
    other = Other()
    handler = type("Handler", (Handler,), {"other": other})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        other.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield other
        finally:
            server.shutdown()
