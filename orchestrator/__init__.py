"""vmrole: named instances from read-only images on plain Linux hosts.

The floors, top to bottom; imports go down them. pyproject.toml holds the same plan, and a test compares the two.

    cli           the command; verbs/ has its verbs
    daemon        the composition root: the only one who picks drivers
    api           HTTP on unix sockets, and by TLS
    control       the only writers: requests, turns, operations, the loop, and the present that everybody reads
    lifecycle     THE table: phase, step, next phase, deadline
    steps         a function for each phase: look, do the least that is missing
    servicefile   the file of a service: read, told apart from another, made of Azure's
    rules         pure: state in, decision out
    ports         what the core asks of the world
    model         frozen values
    errors        whose turn it is when something fails
    log           how the daemon talks

Beside them, each with a contract of its own:

    client        what asks the daemon, quickly
    drivers       who answers the ports: families that know no other, on tools/
    host          configuration, the doctor, and the daemon's process
    imagefiles    our readers of disk formats
    testing       fixtures of pytest, for other people's images and services
"""

__version__ = "0.1.0"
