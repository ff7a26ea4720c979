"""Programs run on packets without a wire."""

import time
from pathlib import Path

import pytest

from mizar.bpf import errors, links, objects, programs

PACKET = bytes(range(64))


def test_an_xdp_program_gives_verdict_packet_and_metadata(loaded: objects.Collection) -> None:
    result = loaded.programs["sample_xdp"].test_run(PACKET)
    assert result.retval == programs.XDP_PASS
    assert result.packet == PACKET
    assert result.ctx.meta == bytes.fromhex("04030201")
    assert result.duration_ns >= 0


def test_an_xdp_program_finds_the_metadata_it_is_given(loaded: objects.Collection) -> None:
    context = programs.XdpContext(meta=b"from another")
    result = loaded.programs["sample_xdp"].test_run(PACKET, context)
    assert result.ctx.meta == bytes.fromhex("04030201") + b"from another"
    assert result.packet == PACKET


def test_a_tc_program_gives_verdict_packet_and_context(loaded: objects.Collection) -> None:
    context = programs.SkContext(mark=7, cb=(1, 2, 3, 4, 5), gso_size=20, gso_segs=2)
    result = loaded.programs["sample_tc"].test_run(PACKET, context)
    assert result.retval == programs.TC_UNSPEC
    assert result.packet == PACKET
    assert result.ctx.mark == 8
    assert result.ctx.cb == (1, 2, 3, 4, 5)
    assert result.ctx.gso_size == 20
    assert loaded.programs["sample_drop"].test_run(PACKET).retval == programs.TC_SHOT


def test_a_program_runs_as_often_as_told(loaded: objects.Collection) -> None:
    loaded.programs["sample_drop"].test_run(PACKET, repeat=1000)
    assert sum(slot.packets for slot in loaded.maps["counts"].lookup(3)) == 1000


def test_live_frames_are_really_sent(loaded: objects.Collection, wire: tuple[int, int]) -> None:
    near, far = wire
    bounce, sink = loaded.programs["sample_bounce"], loaded.programs["sample_sink"]
    with links.attach_xdp(bounce, near), links.attach_xdp(sink, far):
        context = programs.XdpContext(ingress_ifindex=near)
        result = bounce.test_run(PACKET, context, repeat=1000, live_frames=True, batch_size=64)
        assert (result.packet, result.ctx) == (b"", None)
        deadline = time.monotonic() + 2
        while (arrived := count(loaded)) < 1000 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert arrived >= 1000


def count(loaded: objects.Collection) -> int:
    return sum(slot.packets for slot in loaded.maps["counts"].lookup(3))


def test_a_batch_that_is_too_large_is_refused(loaded: objects.Collection) -> None:
    with pytest.raises(errors.BpfError, match="test run of program sample_bounce"):
        loaded.programs["sample_bounce"].test_run(
            PACKET, live_frames=True, batch_size=programs.LIVE_BATCH_MAX + 1
        )


def test_a_packet_without_an_ethernet_header_is_refused(loaded: objects.Collection) -> None:
    with pytest.raises(errors.BpfError, match="test run of program sample_tc: Invalid argument"):
        loaded.programs["sample_tc"].test_run(b"short")


def test_a_pinned_program_is_opened_with_its_name_and_type(
    loaded: objects.Collection, bpffs: Path
) -> None:
    bpffs.mkdir()
    loaded.programs["sample_tc"].pin(bpffs / "program")
    with programs.open(bpffs / "program") as again:
        assert (again.name, again.type) == ("sample_tc", programs.SCHED_CLS)
        assert again.id == loaded.programs["sample_tc"].id
        assert again.test_run(PACKET).retval == programs.TC_UNSPEC
