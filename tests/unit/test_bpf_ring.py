"""The ring buffer on asyncio."""

import asyncio
from typing import Any

import pytest

from mizar.bpf import errors, objects, ring


def record(loaded: objects.Collection, length: int) -> bytes:
    """Makes the sample write one record, the packet's length; returns what it holds."""
    loaded.programs["sample_xdp"].test_run(bytes(length))
    return length.to_bytes(4, "little")


def test_records_come_in_order_and_the_ring_never_clogs(loaded: objects.Collection) -> None:
    async def main() -> tuple[list[bytes], list[bytes]]:
        seen: list[bytes] = []
        reader = ring.Reader(loaded.maps["records"], seen.append)
        written = []
        for length in range(64, 1064):
            written.append(record(loaded, length))
            await asyncio.sleep(0)
        reader.drain()
        reader.close()
        return seen, written

    seen, written = asyncio.run(main())
    assert seen == written


def test_what_was_written_before_the_reader_is_read_too(loaded: objects.Collection) -> None:
    async def main() -> bytes:
        written = record(loaded, 99)
        arrived: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        reader = ring.Reader(loaded.maps["records"], arrived.set_result)
        assert await asyncio.wait_for(arrived, 5) == written
        reader.close()
        return written

    asyncio.run(main())


def test_a_closed_reader_reads_no_more_even_closed_by_its_callback(
    loaded: objects.Collection,
) -> None:
    async def main() -> list[bytes]:
        seen: list[bytes] = []

        def take(content: bytes) -> None:
            seen.append(content)
            reader.close()

        reader = ring.Reader(loaded.maps["records"], take)
        record(loaded, 70)
        record(loaded, 71)
        reader.drain()
        reader.drain()
        reader.close()
        return seen

    assert asyncio.run(main()) == [(70).to_bytes(4, "little")]


def test_an_exception_of_the_callback_reaches_the_loop_and_the_rest_is_read(
    loaded: objects.Collection,
) -> None:
    async def main() -> tuple[list[Any], list[bytes]]:
        failures: list[Any] = []
        seen: list[bytes] = []

        def take(content: bytes) -> None:
            seen.append(content)
            if len(seen) == 1:
                raise RuntimeError("the callback's own")

        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: failures.append(context["exception"])
        )
        reader = ring.Reader(loaded.maps["records"], take)
        record(loaded, 70)
        record(loaded, 71)
        reader.drain()
        reader.close()
        return failures, seen

    failures, seen = asyncio.run(main())
    assert [str(failure) for failure in failures] == ["the callback's own"]
    assert len(seen) == 2


def test_a_map_that_is_no_ring_is_refused(loaded: objects.Collection) -> None:
    async def main() -> None:
        ring.Reader(loaded.maps["recent"], print)

    with pytest.raises(errors.BpfError, match="map recent: read as a ring buffer"):
        asyncio.run(main())
