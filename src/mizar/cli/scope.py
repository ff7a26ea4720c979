"""Which server and which tenant a command speaks of: the options that every verb takes.

They may stand before or after the verb; after it wins.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from mizar.client import address

if TYPE_CHECKING:
    from mizar.client import rest
    from mizar.model import registry

_F = TypeVar("_F", bound=Callable[..., Any])
_META = "mizar.scope"


class Scope:
    """What the environment and the options said. ``tenant`` is empty when none was named."""

    def __init__(self) -> None:
        self.server = os.environ.get("MIZAR_SERVER") or address.DEFAULT
        self.tenant = os.environ.get("MIZAR_TENANT", "")
        self.all_tenants = False
        self.debug = False

    def client(self) -> rest.Client:
        """A client of the server; a usage error when its address makes no sense."""
        from mizar.client import rest

        try:
            return rest.Client(self.server)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--server (MIZAR_SERVER)") from error

    def tenant_for(self, kind: registry.Kind) -> str:
        """The tenant of one resource of ``kind`` ('' if it lives in none); it must be named."""
        if not kind.tenanted:
            return ""
        if not self.tenant:
            raise click.UsageError(
                f"which tenant? {kind.plural} live in one: give -n TENANT, write "
                f"{kind.name.lower()}/TENANT/NAME, or set MIZAR_TENANT"
            )
        return self.tenant

    def tenants_for(self, kind: registry.Kind) -> str:
        """The tenant to list ``kind`` in; '' is all."""
        if not kind.tenanted or self.all_tenants:
            return ""
        if not self.tenant:
            raise click.UsageError(
                f"which tenant? {kind.plural} live in one: give -n TENANT, or -A for all, "
                "or set MIZAR_TENANT"
            )
        return self.tenant


def current(ctx: click.Context) -> Scope:
    """The scope of this run of the command."""
    return cast(Scope, ctx.meta.setdefault(_META, Scope()))


def server_option(function: _F) -> _F:
    """Adds ``--server`` and takes it off the arguments."""
    return _taking(
        function,
        click.option(
            "--server",
            metavar="ADDRESS",
            help=f"http://HOST:PORT or unix:/PATH (env MIZAR_SERVER; else {address.DEFAULT}).",
        ),
    )


def options(function: _F) -> _F:
    """Adds ``-n``, ``--server`` and ``--debug``, and takes them off the arguments."""
    return _taking(
        server_option(function),
        click.option("-n", "--tenant", metavar="TENANT", help="The tenant (env MIZAR_TENANT)."),
        click.option("--debug", is_flag=True, help="Show details of an unexpected error."),
    )


def listing_options(function: _F) -> _F:
    """Adds ``-A`` to `options`."""
    everywhere = click.option("-A", "--all-tenants", is_flag=True, help="All tenants.")
    return _taking(options(function), everywhere)


def _taking(function: _F, *added: Callable[[_F], _F]) -> _F:
    """``function`` with options whose values go to the scope."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        found = current(click.get_current_context())
        for name in ("server", "tenant", "all_tenants", "debug"):
            if value := kwargs.pop(name, None):
                setattr(found, name, value)
        return function(*args, **kwargs)

    for option in reversed(added):
        wrapped = option(cast(_F, wrapped))
    return cast(_F, wrapped)
