"""A bounded queue between what reads and what uses: one thread reads ahead, and waits where it is too far ahead.

Called by `rows`. What goes wrong while reading is raised where the next item would have been.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

_POLL_S = 0.2  # then each side looks whether the other one is still there
Item = TypeVar("Item")


class _End:
    """Stands behind the last item. error: what ended the reading, None if nothing was left."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Producer(threading.Thread, Generic[Item]):
    def __init__(self, items: Iterable[Item], depth: int) -> None:
        super().__init__(name="fljob-reader", daemon=True)
        self._items = items
        self.ready: queue.Queue[Item | _End] = queue.Queue(depth)
        self.stopped = threading.Event()

    def run(self) -> None:
        """Put all items, then the end; whatever is raised goes to who uses them."""
        try:
            for item in self._items:
                if not self._put(item):
                    return
            self._put(_End())
        except BaseException as error:  # raised again where the items are used
            self._put(_End(error))

    def _put(self, item: Item | _End) -> bool:
        while not self.stopped.is_set():
            try:
                self.ready.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False


@contextmanager
def queued(items: Iterable[Item], depth: int) -> Iterator[Iterator[Item]]:
    """Let a thread read at most `depth` items ahead; leaving the block stops it after the item it is at.

    The items are taken by that thread alone. Raises, in their order, what reading them raised.
    """
    producer = _Producer(items, depth)
    producer.start()
    try:
        yield _taken(producer)
    finally:
        producer.stopped.set()


def _taken(producer: _Producer[Item]) -> Iterator[Item]:
    while True:
        try:
            item = producer.ready.get(timeout=_POLL_S)
        except queue.Empty:
            if not producer.is_alive() and producer.ready.empty():
                raise RuntimeError("the reading thread ended without a word") from None
            continue
        if not isinstance(item, _End):
            yield item
        elif item.error is None:
            return
        else:
            raise item.error
