"""Stores whose power is cut after so many changes."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from jobs.stores.store import Store


class PowerCutError(Exception):
    pass


@dataclass
class Supply:
    """How many more changes a store makes before its power is cut."""

    left: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def use(self) -> None:
        with self.lock:
            if self.left == 0:
                raise PowerCutError
            self.left -= 1


@dataclass(frozen=True)
class Failing(Store):
    """A store that works until its power is cut, and then not at all."""

    supply: Supply

    def put(self, name: str, data: bytes) -> None:
        self.supply.use()
        super().put(name, data)

    def put_new(self, name: str, data: bytes) -> bool:
        self.supply.use()
        return super().put_new(name, data)

    def copy(self, name: str, to: str) -> None:
        self.supply.use()
        super().copy(name, to)

    def remove(self, names) -> None:
        for name in names:
            self.supply.use()
            super().remove([name])
