"""A network that is built when somebody first asks for it: what runs compiled needs its config alone, and no PyTorch.

later = LaterNetwork(config, build)
later.network                          # built now, and kept
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from lmworks.models.config import ModelConfig

if TYPE_CHECKING:
    from lmworks.models.network import Network


class LaterNetwork:
    """A network that may not be there yet."""

    def __init__(
        self, config: ModelConfig, build: Callable[[], Network], parameters: Callable[[], int] = lambda: 0
    ) -> None:
        """`parameters` tells how many weights it will have."""
        self._config, self._build, self._parameters = config, build, parameters
        self._network: Network | None = None
        self._checks: list[Callable[[], None]] = []
        self._wait: list[Callable[[Network], object]] = []
        self._lock = threading.RLock()

    @classmethod
    def built(cls, network: Network) -> LaterNetwork:
        """One that is there."""
        later = cls(network.config, lambda: network)
        later._network = network
        return later

    @property
    def is_built(self) -> bool:
        """Whether somebody asked for it."""
        return self._network is not None

    @property
    def config(self) -> ModelConfig:
        """What shapes it."""
        return self._config if self._network is None else self._network.config

    @property
    def parameters(self) -> int:
        """How many weights it has."""
        if self._network is None:
            return self._parameters()
        from lmworks.models.unread import peeked

        return sum(one.numel() for one in peeked(self._network).values())  # unread ones stay so

    @property
    def network(self) -> Network:
        """The network itself."""
        if self._network is None:
            with self._lock:
                if self._network is None:
                    for check in self._checks:
                        check()
                    network = self._build()
                    for call in self._wait:
                        call(network)
                    self._network = network
                    self._wait.clear()  # what waited may be large
        return self._network

    def check_first(self, check: Callable[[], None]) -> None:
        """Build it only where this raises nothing."""
        self._checks.append(check)

    def change_first(self, change: Callable[[Network], object]) -> None:
        """Change the network as soon as it is built, before others are told of it."""
        with self._lock:
            assert self._network is None, "others have the network"
            self._wait.insert(0, change)

    def when_built(self, call: Callable[[Network], None]) -> None:
        """Tell of the network before anybody else has it: now, where it is there."""
        with self._lock:
            if self._network is None:
                self._wait.append(call)
            else:
                call(self._network)
