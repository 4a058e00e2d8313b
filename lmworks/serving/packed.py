"""A file of the pages as it is sent: compressed once, and not again to a browser that has it."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from fastapi import Request
from fastapi.responses import Response

HEADERS = {
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class CompressedFile:
    """A file's compressed content, and what tells it from its next version."""

    name: str
    content: bytes
    version: str

    @classmethod
    def of(cls, name: str, content: bytes) -> Self:
        """Compress a file."""
        return cls(name, gzip.compress(content, 6, mtime=0), hashlib.sha256(content).hexdigest()[:16])

    def answer(self, request: Request, headers: Mapping[str, str] | None = None) -> Response:
        """The response to a request for it."""
        sent = {**HEADERS, "ETag": f'"{self.version}"', **(headers or {})}
        if request.headers.get("if-none-match") == f'"{self.version}"':
            return Response(status_code=304, headers=sent)
        kind = mimetypes.guess_type(self.name)[0] or "application/octet-stream"
        kind = f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(self.content, headers=sent | {"Content-Encoding": "gzip"}, media_type=kind)
        return Response(gzip.decompress(self.content), headers=sent, media_type=kind)
