"""Many random packets through the compiled programs and the model; `python bulk.py 1000000`.

One seed makes one set of tables and the packets that run through it one after the other, each
changing what the next one finds. A difference is printed with the least of tables that shows it.
"""

import argparse
import collections
import random
import sys
import time

import comparison
from chance import SECOND, START, Chance

from mizar.datapath.reference import run as reference

PACKETS_A_SEED = 50
SEEDS_A_LINE = 2000


class DifferenceError(AssertionError):
    """The programs and the model part."""


def examine(kernel: comparison.Kernel, seed: int, packets: int, tally: collections.Counter) -> None:
    """One seed's packets; counts each under (program, reason). Raises DifferenceError."""
    chance = Chance(seed)
    tables, now = chance.tables(kernel.ports, kernel.uplink), START
    kernel.install(tables, now)
    drops: dict = {}
    for number in range(packets):
        if chance.likely(25):
            now += chance.some((1, 10_000_000, 90_000_000, 260_000_000, SECOND))
            kernel.set_clock(tables, now)
        case = chance.case(tables, kernel, now)
        if not comparison.runs(case):
            continue
        found, said = comparison.compared(kernel, case, drops)
        if found:
            text = comparison.told(kernel, case, found)
            again = f"./dev fuzz {PACKETS_A_SEED} --seed {seed}"
            raise DifferenceError(f"packet {number} of: {again}\n{text}")
        tally[case.program, said.reason] += 1
        reference.apply(tables, said)
        if said.drop:
            key = (*said.drop[:2], comparison.NUMBERS[said.drop.reason])
            drops[key] = drops.get(key, 0) + 1


def spread(tally: collections.Counter) -> str:
    """How the packets spread over reasons, by program."""
    return "\n".join(
        f"{count:9} {program:10} {reason}" for (program, reason), count in sorted(tally.items())
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("packets", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--seed", type=int, default=None, help="begin with this one")
    parser.add_argument("--go-on", action="store_true", help="past differences")
    wish = parser.parse_args()
    first = random.SystemRandom().randrange(1 << 48) if wish.seed is None else wish.seed
    print(f"seed {first}: replay with ./dev fuzz {wish.packets} --seed {first}", flush=True)
    tally: collections.Counter = collections.Counter()
    start, failures, seed = time.monotonic(), 0, first
    with comparison.one_cpu(), comparison.loaded_kernel() as kernel:
        while tally.total() < wish.packets:
            try:
                examine(kernel, seed, PACKETS_A_SEED, tally)
            except DifferenceError as error:
                failures += 1
                print(error, end="\n\n", flush=True)
                if not wish.go_on:
                    break
            seed += 1
            if (seed - first) % SEEDS_A_LINE == 0:
                print(f"{tally.total()} packets, {time.monotonic() - start:.0f} s", flush=True)
    print(spread(tally))
    seconds = time.monotonic() - start
    print(f"{tally.total()} packets in {seconds:.0f} s, {failures} differences", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
