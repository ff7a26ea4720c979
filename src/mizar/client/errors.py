"""What can go wrong between a client and the server.

A refusal is raised as the `mizar.model.errors.Refused` that it is; these are
the rest. Their texts are fit for a user.
"""

from __future__ import annotations

import errno
import os


class Unreachable(Exception):  # noqa: N818 - says what is so
    """Nobody answers at the address."""

    def __init__(self, where: str, cause: str) -> None:
        remedy = "is the server running? start it with mizar server, or set MIZAR_SERVER"
        if cause == os.strerror(errno.EACCES):
            remedy = "its socket is root's; use sudo"
        super().__init__(f"cannot reach the server at {where}: {cause}; {remedy}")


class Failed(Exception):  # noqa: N818
    """The server couldn't, and says why. ``status``: of HTTP."""

    def __init__(self, where: str, status: int, message: str) -> None:
        super().__init__(f"the server at {where} answered {status}: {message}")
        self.status = status


class Foreign(Failed):
    """The answer isn't one of a Mizar server of this version."""

    def __init__(self, where: str, status: int, message: str) -> None:
        remedy = "see its log, and check that MIZAR_SERVER names a Mizar server of this version"
        super().__init__(where, status, f"{message}; {remedy}")
