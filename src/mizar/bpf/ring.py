"""Records of a BPF ring buffer, on asyncio's event loop."""

import asyncio
import ctypes
import errno
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
        self._closed = self._draining = False
        self._loop.add_reader(self._epoll, self.drain)

    def drain(self) -> None:
        """Take what is there now, without waiting for the loop; nothing once closed."""
        if self._closed:
            return
        self._draining = True
        try:
            result = libbpf.library().ring_buffer__consume(self._ring)
        finally:
            self._draining = False
        if self._closed:
            self._free()
        else:
            libbpf.check(result, f"map {self._name}: consume")

    def close(self) -> None:
        """Stop reading, at once even from the callback. Closing twice is harmless."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._epoll)
            if not self._draining:
                self._free()

    def _free(self) -> None:
        libbpf.library().ring_buffer__free(self._ring)

    def _take(self, context: int, data: int, size: int) -> int:
        try:
            self._callback(ctypes.string_at(data, size))
        except Exception as error:
            self._loop.call_exception_handler(
                {"message": f"record of map {self._name}", "exception": error}
            )
        return -errno.ECANCELED if self._closed else 0
