"""How a failure is told: one message a problem on standard error, and an exit code.

No traceback reaches a user who didn't ask for it with ``--debug``.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import IO, Any, Final

import click

from mizar.cli import scope

REFUSED: Final = 1
UNREACHABLE: Final = 3
INTERRUPTED: Final = 130


class Failure(click.ClickException):
    """A message, one problem a line."""

    exit_code = REFUSED

    def show(self, file: IO[Any] | None = None) -> None:
        for line in self.message.splitlines():
            click.echo(f"error: {line}", file=file or sys.stderr)


class Unreachable(Failure):
    """There is no server to talk to."""

    exit_code = UNREACHABLE


@contextlib.contextmanager
def told(ctx: click.Context) -> Iterator[None]:
    """Turns what a command raises into what a user reads."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise
    except KeyboardInterrupt:
        raise click.exceptions.Exit(INTERRUPTED) from None
    except Exception as error:
        if scope.current(ctx).debug:
            raise
        raise _failure(error) from error


def _failure(error: Exception) -> Failure:
    from mizar.client import errors
    from mizar.model import errors as refusals

    if isinstance(error, errors.Unreachable):
        return Unreachable(str(error))
    if isinstance(error, refusals.Refused | errors.Failed | OSError):
        return Failure(str(error))
    summary = f"{type(error).__name__}: {error}".splitlines()[0]
    return Failure(f"unexpected: {summary}; this is a bug: run again with --debug and report it")
