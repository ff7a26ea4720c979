"""Records of a BPF ring buffer, on asyncio's event loop."""

import asyncio
import ctypes
from collections.abc import Callable

from mizar.bpf import errors, libbpf, maps


class Reader:
    """Calls callback(record: bytes) for each record, in order, on the loop that made the reader.

    An exception of the callback goes to the loop's exception handler; the next record follows.
    """

    def __init__(self, source: maps.Map, callback: Callable[[bytes], None]) -> None:
        self._name = source.name
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._sample = libbpf.SAMPLE(self._take)  # libbpf calls it: it must live as long
        ctypes.set_errno(0)
        self._ring = libbpf.library().ring_buffer__new(source.fd, self._sample, None, None)
        if not self._ring:
            raise errors.BpfError(ctypes.get_errno(), f"map {source.name}: read as a ring buffer")
        self._epoll = libbpf.library().ring_buffer__epoll_fd(self._ring)
        self._loop.add_reader(self._epoll, self.drain)

    def drain(self) -> int:
        """Take what is there now; how many records."""
        result = libbpf.library().ring_buffer__consume(self._ring)
        return libbpf.check(result, f"map {self._name}: consume")

    def close(self) -> None:
        """Stop reading. Closing twice is harmless."""
        ring, self._ring = self._ring, None
        if ring:
            self._loop.remove_reader(self._epoll)
            libbpf.library().ring_buffer__free(ring)

    def _take(self, context: int, data: int, size: int) -> int:
        try:
            self._callback(ctypes.string_at(data, size))
        except Exception as error:
            self._loop.call_exception_handler(
                {"message": f"record of map {self._name}", "exception": error})
        return 0
