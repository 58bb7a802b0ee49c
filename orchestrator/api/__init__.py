"""The HTTP API on unix sockets, and to the network where it is let: `create_app` over the core, and `serve` it.

What a request means is decided in `control`; what an error is worth is decided in `problems`.
"""

from orchestrator.api.app import create_app
from orchestrator.api.listening import Listener, bind
from orchestrator.api.server import Server, serve

__all__ = ["Listener", "Server", "bind", "create_app", "serve"]
