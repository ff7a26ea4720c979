"""Programs on interfaces: XDP, tcx and cls_bpf, each replaced with no packet in between."""

import errno
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from mizar.bpf import errors, links, objects, programs

FRAME = bytes(12) + b"\x88\xb5" + bytes(46)  # an EtherType for local experiments
Attach = Callable[[programs.Program, int], links.Link | links.Filter]


@contextmanager
def far_end() -> Iterator[socket.socket]:
    """What is sent here comes in at the near end."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as far:
        far.bind(("far", 0))
        yield far


def send(frames: int) -> None:
    with far_end() as far:
        for _ in range(frames):
            far.send(FRAME)


def send_until(done: threading.Event) -> int:
    frames = 0
    with far_end() as far:
        while not done.is_set():
            far.send(FRAME)
            frames += 1
    return frames


def counted(loaded: objects.Collection) -> tuple[int, int]:
    """How many packets the passing and the dropping program saw."""
    counts = loaded.maps["counts"]
    passed, dropped = (sum(slot.packets for slot in counts.lookup(n)) for n in (0, 3))
    return passed, dropped


def tcx(program: programs.Program, ifindex: int, direction: links.Direction) -> links.Link:
    if not links.tcx_supported():
        pytest.skip("this kernel has no tcx")
    return links.attach_tcx(program, ifindex, direction)


def ingress(program: programs.Program, ifindex: int) -> links.Link:
    return tcx(program, ifindex, links.INGRESS)


def cls_ingress(program: programs.Program, ifindex: int) -> links.Filter:
    return links.attach_cls(program, ifindex, links.INGRESS)


ATTACHMENTS = [
    pytest.param(links.attach_xdp, "sample_xdp", "sample_sink", id="xdp"),
    pytest.param(ingress, "sample_tc", "sample_drop", id="tcx"),
    pytest.param(cls_ingress, "sample_tc", "sample_drop", id="cls_bpf"),
]


@pytest.fixture
def quiet(wire: tuple[int, int]) -> int:
    """The near end of a wire that carries nothing but what a test sends."""
    for end in ("near", "far"):
        Path(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6").write_text("1")
    return wire[0]


@pytest.mark.parametrize(("attach", "passing", "dropping"), ATTACHMENTS)
def test_an_attached_program_sees_the_packets_until_it_is_detached(
    loaded: objects.Collection, quiet: int, attach: Attach, passing: str, dropping: str
) -> None:
    attached = attach(loaded.programs[passing], quiet)
    assert attached.program_id == loaded.programs[passing].id
    assert attached.ifindex == quiet
    before = counted(loaded)
    send(10)
    assert counted(loaded) == (before[0] + 10, before[1])
    attached.detach()
    attached.detach()
    send(10)
    assert counted(loaded) == (before[0] + 10, before[1])
    attached.close()


@pytest.mark.parametrize(("attach", "passing", "dropping"), ATTACHMENTS)
def test_no_packet_passes_unseen_while_programs_are_replaced(
    loaded: objects.Collection, quiet: int, attach: Attach, passing: str, dropping: str
) -> None:
    attached = attach(loaded.programs[passing], quiet)
    before = sum(counted(loaded))
    done = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        sent = threads.submit(send_until, done)
        for turn in range(30):
            attached.update(loaded.programs[passing if turn % 2 else dropping])
            time.sleep(0.001)
        done.set()
        frames = sent.result()
    passed, dropped = counted(loaded)
    attached.detach()
    attached.close()
    assert min(passed, dropped) > 0
    assert passed + dropped - before == frames


def test_a_pinned_link_outlives_its_descriptor_and_is_opened_again(
    loaded: objects.Collection, quiet: int, bpffs: Path
) -> None:
    bpffs.mkdir()
    with ingress(loaded.programs["sample_tc"], quiet) as link:
        link.pin(bpffs / "link")
    with links.open(bpffs / "link") as again:
        assert again.ifindex == quiet
        assert again.program_id == loaded.programs["sample_tc"].id
        again.update(loaded.programs["sample_drop"])
        assert again.program_id == loaded.programs["sample_drop"].id
        send(5)
        assert counted(loaded) == (0, 5)
        again.detach()
        send(5)
        assert counted(loaded) == (0, 5)


def test_a_link_knows_that_its_interface_is_gone(loaded: objects.Collection, quiet: int) -> None:
    with ingress(loaded.programs["sample_tc"], quiet) as link:
        subprocess.run(["ip", "link", "delete", "near"], check=True)
        assert link.ifindex == 0
        with pytest.raises(errors.BpfError, match="tcx ingress of interface"):
            link.update(loaded.programs["sample_drop"])


def test_a_filter_stays_when_closed_and_is_found_again(
    loaded: objects.Collection, quiet: int
) -> None:
    cls_ingress(loaded.programs["sample_tc"], quiet).close()
    again = cls_ingress(loaded.programs["sample_drop"], quiet)
    assert again.program_id == loaded.programs["sample_drop"].id
    send(5)
    assert counted(loaded) == (0, 5)
    again.detach()
    assert again.program_id == 0


def test_a_filter_leaves_other_filters_alone(loaded: objects.Collection, quiet: int) -> None:
    add = [
        "tc",
        "filter",
        "add",
        "dev",
        "near",
        "ingress",
        "pref",
        "1",
        "bpf",
        "direct-action",
        "bytecode",
        "1,6 0 0 4294967295",
    ]
    subprocess.run(["tc", "qdisc", "add", "dev", "near", "clsact"], check=True)
    subprocess.run(add, check=True)
    attached = cls_ingress(loaded.programs["sample_tc"], quiet)
    send(5)
    assert counted(loaded) == (5, 0)
    attached.detach()
    listing = ["tc", "filter", "show", "dev", "near", "ingress"]
    assert "bytecode" in subprocess.run(listing, capture_output=True, text=True, check=True).stdout


def test_both_directions_of_one_interface_are_apart(loaded: objects.Collection, quiet: int) -> None:
    incoming = links.attach_cls(loaded.programs["sample_tc"], quiet, links.INGRESS)
    outgoing = links.attach_cls(loaded.programs["sample_drop"], quiet, links.EGRESS)
    with tcx(loaded.programs["sample_drop"], quiet, links.EGRESS):
        assert incoming.program_id == loaded.programs["sample_tc"].id
        assert outgoing.program_id == loaded.programs["sample_drop"].id
        incoming.detach()
        assert outgoing.program_id == loaded.programs["sample_drop"].id


def test_a_second_xdp_program_is_refused_with_the_remedy(
    loaded: objects.Collection, quiet: int
) -> None:
    with (
        links.attach_xdp(loaded.programs["sample_xdp"], quiet),
        pytest.raises(
            errors.BpfError, match=f"XDP on interface {quiet}.*sample_sink.*another program"
        ),
    ):
        links.attach_xdp(loaded.programs["sample_sink"], quiet)


def test_generic_xdp_does_where_a_driver_has_no_native_one(
    loaded: objects.Collection, quiet: int
) -> None:
    loopback = socket.if_nametoindex("lo")
    with pytest.raises(errors.BpfError, match="its driver has no native XDP"):
        links.attach_xdp(loaded.programs["sample_xdp"], loopback)
    with links.attach_xdp(loaded.programs["sample_xdp"], loopback, links.XdpMode.GENERIC) as link:
        assert link.ifindex == loopback


@pytest.mark.parametrize("attach", [links.attach_xdp, ingress, cls_ingress])
def test_an_interface_that_is_not_there_is_named(
    loaded: objects.Collection, quiet: int, attach: Attach
) -> None:
    program = loaded.programs["sample_xdp" if attach is links.attach_xdp else "sample_tc"]
    with pytest.raises(errors.BpfError, match="interface 999") as caught:
        attach(program, 999)
    assert caught.value.errno == errno.ENODEV


def test_the_probe_for_tcx_agrees_with_attaching(loaded: objects.Collection, quiet: int) -> None:
    if links.tcx_supported():
        ingress(loaded.programs["sample_tc"], quiet).close()
    else:
        with pytest.raises(errors.BpfError):
            ingress(loaded.programs["sample_tc"], quiet)
