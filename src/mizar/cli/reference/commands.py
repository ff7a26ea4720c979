"""docs/reference/cli.md, from the click commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Final

import click

from mizar.cli import main
from mizar.cli.reference import markdown

_INTRO: Final = """# Command line

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the server can't be reached, 130
interrupted. Errors go to standard error, one a line: the object, the field, what is wrong, what
to do. Colours appear on a terminal only.
"""
_COMPLETION: Final = """
## Shell completion

```sh
eval "$(_MIZAR_COMPLETE=bash_source mizar)"              # bash: into ~/.bashrc
eval "$(_MIZAR_COMPLETE=zsh_source mizar)"               # zsh: into ~/.zshrc
_MIZAR_COMPLETE=fish_source mizar | source               # fish
```
"""


def page() -> str:
    context = _context(main.main, "mizar")
    note = markdown.NOTE.format(source="src/mizar/cli")
    return note + _INTRO + "".join(_command(context)) + _COMPLETION


def _command(context: click.Context) -> Iterator[str]:
    command = context.command
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"\n## {context.command_path}\n\n```\n{usage}\n```\n\n"
    yield inspect.cleandoc(command.help or "").replace("\b", "") + "\n"
    options = [one for one in command.get_params(context) if isinstance(one, click.Option)]
    records = [one.get_help_record(context) for one in options]
    rows = [(markdown.code(names), text) for names, text in filter(None, records)]
    yield "\n" + markdown.table(("option", "meaning"), rows)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found:
                yield from _command(_context(found, name, context))


def _context(
    command: click.Command, name: str, parent: click.Context | None = None
) -> click.Context:
    """The context that a call of the command would have."""
    return click.Context(command, parent, name, **command.context_settings)
