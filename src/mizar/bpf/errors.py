"""What can go wrong between user space and the kernel's BPF: a closed set."""

import errno as numbers
import os
import struct

ENOTSUPP = 524  # the kernel's internal "not supported", seen by user space and unknown to libc
DAMAGE = (struct.error, LookupError, ValueError, RecursionError)  # of reading a damaged file


class BpfError(OSError):
    """The kernel or libbpf refused; .errno says how, the message says on what object."""

    def __init__(self, number: int, about: str, remedy: str = "") -> None:
        text = "not supported by this kernel" if number == ENOTSUPP else os.strerror(number)
        super().__init__(number, f"{about}: {text}" + (f"; {remedy}" if remedy else ""))

    def __str__(self) -> str:
        return str(self.strerror)


class VerifierError(BpfError):
    """The verifier rejected a program; .log is its whole log, the message its last lines."""

    def __init__(self, number: int, about: str, log: str) -> None:
        super().__init__(number, about, "the verifier's last lines:\n" + _tail(log))
        self.log = log


class LayoutError(BpfError):
    """A type, map or object is not laid out as it must be (differs, padding, unknown type)."""

    def __init__(self, about: str) -> None:
        super().__init__(numbers.EINVAL, about)

    def __str__(self) -> str:
        return str(self.strerror).removesuffix(f": {os.strerror(numbers.EINVAL)}")


def _tail(log: str, lines: int = 12) -> str:
    return "\n".join(log.rstrip().splitlines()[-lines:])
