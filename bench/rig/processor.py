"""CPU time: what the whole machine was busy for, interrupts and softirqs included.

Work on packets is mostly softirq work, which the kernel charges to nobody or to whoever was
interrupted. So the measure is the machine's: time on all CPUs, less idle time. It takes a machine
that does nothing else.
"""

import os
import pathlib
import time

_TICKS_S = os.sysconf("SC_CLK_TCK")
_STEAL = 8
"""Field of /proc/stat's first line (man proc_stat): time that the hypervisor gave to others."""


class Busy:
    """Context manager; `seconds` of CPU time, all CPUs together, once it is left.

    Idle time is /proc/uptime's, exact to 10 ms even without a tick.
    """

    seconds: float

    def __enter__(self) -> "Busy":
        self._start = _unused_s(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        unused, start = self._start
        elapsed = time.perf_counter() - start
        self.seconds = (os.cpu_count() or 1) * elapsed - (_unused_s() - unused)


def _unused_s() -> float:
    idle = float(pathlib.Path("/proc/uptime").read_text().split()[1])
    with open("/proc/stat") as statistics:
        return idle + int(statistics.readline().split()[_STEAL]) / _TICKS_S
