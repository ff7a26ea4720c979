"""Entrance of the `mizar` command: the list of commands, and how every failure is told.

Exit codes: 1 refused or failed, 2 wrong usage, 3 the server can't be reached,
130 interrupted.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

import click

import mizar
from mizar.cli import failures, scope

COMMANDS: Final = (
    "apply",
    "get",
    "describe",
    "edit",
    "delete",
    "wait",
    "drops",
    "explain",
    "trace",
    "counters",
    "reasons",
    "limits",
    "version",
    "server",
    "agent",
    "cleanup",
    "lab",
)


class Commands(click.Group):
    """Imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"mizar.cli.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        with failures.told(ctx):
            return super().invoke(ctx)


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(mizar.__version__, "--version", message="mizar %(version)s")
@scope.listing_options
def main() -> None:
    """Networks for containers and virtual machines.

    Resources are declared in YAML files and applied; their kinds are tenant, host, vpc, network
    and endpoint. All but hosts and tenants live in a tenant: name it with -n, or say -A.

    Shell completion: eval "$(_MIZAR_COMPLETE=bash_source mizar)", or zsh_source, or fish_source.
    """
