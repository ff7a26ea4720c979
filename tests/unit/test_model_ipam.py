"""The pool: next-fit, exact at its edges, and as quick full as empty."""

import pytest

from mizar.model import addresses, ipam, limits


def pool(prefix):
    return ipam.Pool(addresses.span(prefix))


def take(p):
    address = p.next()
    if address is not None:
        p.set(address, True)
        p.pass_over(address)
    return address


@pytest.mark.parametrize("prefix", ["10.0.0.0/30", "10.0.0.8/29", "10.0.0.0/22", "10.0.0.0/20"])
def test_gives_every_address_once_and_then_none(prefix):
    p, span = pool(prefix), addresses.span(prefix)
    assert [take(p) for _ in range(span.size)] == [*range(span.first, span.last + 1)]
    assert take(p) is None


def test_goes_on_behind_the_last_and_comes_round():
    p = pool("10.0.0.0/29")
    first = [take(p) for _ in range(3)]
    p.set(first[0], False)
    assert [take(p) for _ in range(6)] == [first[2] + n for n in range(1, 6)] + [first[0]]


@pytest.mark.parametrize("free", [0, 1023, 1024, 4095])
def test_finds_the_only_free_address_from_anywhere(free):
    p, first = pool("10.0.0.0/20"), addresses.number("10.0.0.0")
    for offset in range(4096):
        p.set(first + offset, offset != free)
    for cursor in (0, 1, 1023, 1024, 4095):
        p.cursor = cursor
        assert p.next() == first + free


@pytest.mark.parametrize("prefix", ["fd00::/48", "fd00::/64", "fd00::/126"])
def test_a_large_prefix_costs_no_more_than_a_small_one(prefix):
    p, first = pool(prefix), addresses.number("fd00::")
    assert [take(p) for _ in range(4)] == [first + n for n in range(4)]
    p.set(addresses.span(prefix).last, True)
    assert len(p._words) <= 1


def test_the_addresses_beyond_a_pool_are_not_given_out():
    p, first = pool("fd00::/64"), addresses.number("fd00::")
    p.cursor = limits.POOL_ADDRESSES - 1
    p.set(first + limits.POOL_ADDRESSES, False)
    assert [take(p) for _ in range(2)] == [first + limits.POOL_ADDRESSES - 1, first]


def test_holds_only_words_with_addresses_in_use():
    p = pool("10.0.0.0/8")
    p.set(addresses.number("10.200.0.1"), True)
    assert p.next() == addresses.number("10.0.0.0")
    assert len(p._words) == 1
