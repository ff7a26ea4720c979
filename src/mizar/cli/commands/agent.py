"""`mizar agent`: run a host's agent."""

from __future__ import annotations

import click

from mizar.cli import failures, logs, scope


@click.command(short_help="Run the agent of this host, as root.")
@click.option("--uplink", required=True, metavar="INTERFACE", help="The interface to the underlay.")
@click.option("--name", metavar="HOST", help="The host's name; by default the machine's.")
@click.option(
    "--mode",
    type=click.Choice(["auto", "xdp", "tcx"]),
    default="auto",
    show_default=True,
    help="Where packets from the underlay are met: auto goes by the driver.",
)
@click.option(
    "--pin-path",
    default="/sys/fs/bpf/mizar",
    metavar="PATH",
    show_default=True,
    help="Where programs and maps outlive the agent, on a BPF file system.",
)
@click.option(
    "--namespace-prefix",
    default="mizar",
    metavar="PREFIX",
    show_default=True,
    help="An endpoint that names no namespace gets PREFIX-TENANT.NAME.",
)
@scope.server_option
@click.pass_context
def command(
    ctx: click.Context,
    uplink: str,
    name: str | None,
    mode: str,
    pin_path: str,
    namespace_prefix: str,
) -> None:
    """Run the agent of this host, as root: keep its endpoints and tables as the server says.

    When it stops, the packets go on. It needs Linux 6.1 or newer and iproute2's libbpf.
    """
    from mizar.agent import main

    logs.configure()
    try:
        main.run(scope.current(ctx).server, uplink, name, mode, pin_path, namespace_prefix)
    except main.AgentError as error:
        raise failures.Failure(str(error)) from error
