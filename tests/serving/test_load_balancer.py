"""Two servers behind nginx, with the handbook's own block."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from lmworks.serving.load import measure
from lmworks.serving.service import Service
from lmworks.serving.settings import ServerLimits
from serving.live import running, small

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
HANDBOOK = Path(__file__).parents[2] / "docs" / "serving.md"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed; apt-get install nginx"),
]


@contextmanager
def balanced(folder: Path, *addresses: str) -> Iterator[str]:
    """The handbook's block in front of these servers; its address."""
    found = re.search(
        r"^    upstream .*?^    }$\n^    server {.*?^    }$", HANDBOOK.read_text(), re.MULTILINE | re.DOTALL
    )
    assert found is not None
    block = found[0]
    for number, address in enumerate(addresses, 1):
        block = block.replace(f"10.0.0.{number}:8000", urlsplit(address).netloc)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    block = block.replace("listen 443 ssl", f"listen 127.0.0.1:{port}")
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}} http {{ access_log off; {block} }}"
    )
    with subprocess.Popen([str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf")]) as nginx:
        try:
            with httpx.Client(transport=httpx.HTTPTransport(retries=10)) as client:
                assert client.get(f"http://127.0.0.1:{port}/health").json() == {"status": "ok"}
            yield f"http://127.0.0.1:{port}"
        finally:
            nginx.terminate()


def test_full_servers_pass_requests_on_and_then_say_so(tmp_path: Path):
    services = [Service(small(), name="tiny", limits=ServerLimits(seats=1, queue=1), keys=["k"]) for _ in range(2)]
    with (
        running(services[0]) as one,
        running(services[1]) as other,
        balanced(tmp_path, one.address, other.address) as address,
    ):
        said = {"prompt_tokens": 3, "max_tokens": 40, "key": "k", "vary": False}
        load = asyncio.run(
            measure(address, concurrency=12, requests=36, **said)
        )  # 429 is asked again, 502 would be a failure
        assert load.failed == 0 and load.refused > 0 and load.written_tokens == 36 * 40
        assert all(service.engine.state.finished > 5 for service in services)


def test_streams_come_piece_by_piece_and_a_server_that_is_gone_is_passed_over(tmp_path: Path):
    with running(Service(small(), name="tiny", keys=["k"])) as one:
        gone = "http://127.0.0.1:1"
        with balanced(tmp_path, one.address, gone) as address:
            load = asyncio.run(measure(address, concurrency=2, requests=8, prompt_tokens=3, max_tokens=200, key="k"))
            assert load.failed == 0 and load.first_token.p50 < load.request.p50 / 2
