"""The daemon that a command line means."""

from __future__ import annotations

import click
from click.core import ParameterSource

from orchestrator.client.asking import CONNECT_WITHIN_S
from orchestrator.client.client import Client

OPTIONS = ("socket", "server", "context")


def client_of(ctx: click.Context, *, connect_within_s: float = CONNECT_WITHIN_S) -> Client:
    """Its client; what variables say is the client's to find, for one of them must not be taken for an option."""
    root = ctx.find_root()
    socket, server, context = (
        str(root.params.get(name) or "") if root.get_parameter_source(name) is ParameterSource.COMMANDLINE else ""
        for name in OPTIONS
    )
    return Client(socket, server=server, context=context, connect_within_s=connect_within_s)
