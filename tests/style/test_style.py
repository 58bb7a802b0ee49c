"""Style as tests: the linters, the types, the direction of imports, and the sizes that keep a reader's courage."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PRODUCT = ("orchestrator", "unattend", "images")
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 400
# Who may read the machine's clock, and why.
CLOCKS = {
    "orchestrator/drivers/clock.py": "it is ports.Clock",
    "orchestrator/drivers/tools/deadline.py": "what the kernel measures: how long a socket or a program may take",
    "orchestrator/drivers/tools/effort.py": "what the kernel measures: how much of a processor a thread had",
    "orchestrator/client/clock.py": "whoever asks has no port, and a person waits",
    "orchestrator/log.py": "the log is there before everything else",
}
# Which drivers may wait by it, and why.
WAITS = {
    "orchestrator/drivers/clock.py": "it is ports.Clock",
    "orchestrator/drivers/fake/world.py": "it is ports.Clock",
    "orchestrator/drivers/store/memory.py": "whoever watches a store says how long",
    "orchestrator/drivers/store/sqlite.py": "whoever watches a store says how long",
    "orchestrator/drivers/hypervisor/qmp_watch.py": "an event loop has timers of its own; its end is waited for",
    "orchestrator/drivers/tools/event_loop.py": "an event loop's end is waited for",
    "orchestrator/drivers/guest/runtime_channel.py": "an event loop has timers of its own; its end is waited for",
    "orchestrator/drivers/network/given_watch.py": "looks now and then; the end of its thread is waited for",
    "orchestrator/drivers/guest/runtime_blobs.py": "an event loop has timers of its own",
    "orchestrator/drivers/balancer/prober.py": "the end of its thread is waited for",
    "orchestrator/drivers/balancer/watch.py": "the end of its thread is waited for",
    "orchestrator/drivers/kept_evidence.py": "the end of its thread is waited for",
    "orchestrator/drivers/tools/libvirt_connection.py": "the end of its thread is waited for",
    "orchestrator/drivers/tools/netlink.py": "the end of its thread is waited for",
    "orchestrator/drivers/balancer/haproxy.py": "a lock, which knows no other clock; nothing is judged by it",
    "orchestrator/drivers/balancer/nftables.py": "a lock, which knows no other clock; nothing is judged by it",
    "orchestrator/drivers/tools/agent_channel.py": "a lock, which knows no other clock; nothing is judged by it",
}
# Who measures by it for the kernel, and what.
DEADLINES = {
    "orchestrator/drivers/tools/command.py": "how long a program may take",
    "orchestrator/drivers/hypervisor/accelerator.py": "how long a QEMU that is tried may take",
    "orchestrator/drivers/tools/ended.py": "how long a program that has ended may be taken no note of",
    "orchestrator/drivers/images/confinement.py": "how long a trial is believed; who asks has no clock",
    "orchestrator/drivers/guest/host_probe.py": "how long a socket may be silent",
    "orchestrator/drivers/network/neighbours.py": "how long a neighbour may be silent",
    "orchestrator/drivers/tools/netlink.py": "how long a burst on a socket may be",
}
ONLY_WRITTEN = ("strftime", "strptime", "mktime", "struct_time")  # Times that somebody else has read.
TIMES = ("localtime", "gmtime")  # likewise, of a time that is given
SHELL = sorted(
    path
    for path in [
        *REPOSITORY.glob("vagrant/**/*.sh"),
        *(REPOSITORY / "vagrant" / "deb" / name for name in ("postinst", "prerm", "postrm")),
        *(REPOSITORY / ".ci" / name for name in ("run", "kvm", "up")),
        *REPOSITORY.glob("images/**/*.sh"),
    ]
    if path.exists()
)


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["lint-imports"],
    ],
    ids=lambda command: "-".join(command),
)
def test_linters_have_nothing_to_say(command: list[str]) -> None:
    """The linters, as configured in pyproject.toml, find nothing."""
    tool = Path(sys.executable).parent / command[0]
    done = subprocess.run([str(tool), *command[1:]], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_shell_scripts_are_clean() -> None:
    """shellcheck finds nothing in what prepares a host."""
    assert SHELL
    done = subprocess.run(["shellcheck", *map(str, SHELL)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def sources() -> list[Path]:
    """Every Python file of the product."""
    return [path for package in PRODUCT for path in sorted((REPOSITORY / package).rglob("*.py"))]


def daemon_sources() -> list[Path]:
    """Those that run on a host, in the repository: a recipe or a guest of the images is a program of its own."""
    return [path.relative_to(REPOSITORY) for path in sources() if path.relative_to(REPOSITORY).parts[0] != "images"]


def test_files_are_short() -> None:
    """No file of the product is longer than a reader can hold."""
    long = {str(path.relative_to(REPOSITORY)): lines(path) for path in sources() if lines(path) > FILE_LINES_MAX}
    assert not long


def test_functions_are_short() -> None:
    """No function of the product is longer than a screen."""
    long = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    long[f"{path.relative_to(REPOSITORY)}:{node.name}"] = length
    assert not long


def test_names_say_what_they_do() -> None:
    """No module or class is called manager, handler, helper or util."""
    empty = ("manager", "handler", "helper", "util")
    named = []
    for path in sources():
        classes = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
        named += [name for name in (path.stem, *classes) if any(word in name.lower() for word in empty)]
    assert not named


def test_time_comes_from_the_clock() -> None:
    """But for these, everything waits, and judges how long anything has lasted, by the clock that it was given."""
    texts = {path: (REPOSITORY / path).read_text() for path in daemon_sources()}
    assert {path.as_posix() for path, text in texts.items() if machines_time(text)} == CLOCKS.keys()
    assert {path.as_posix() for path, text in texts.items() if waits(path, text)} == WAITS.keys()
    assert {path.as_posix() for path, text in texts.items() if "tools.deadline import" in text} == DEADLINES.keys()


@pytest.mark.parametrize(
    "line",
    [
        "time.sleep(1)",
        "began = time.monotonic()",
        "began = time.perf_counter_ns()",
        "from time import monotonic",
        "import time as clock",
        "now = datetime.datetime.now(datetime.UTC)",
        "today = date.today()",
        "lines = time.localtime()",
        "end = loop.time() + 5",
    ],
)
def test_a_look_at_the_machines_clock_is_seen(line: str) -> None:
    """However it is spelt; what only writes a time down differently is none."""
    assert machines_time(line)
    assert not machines_time("time.strftime('%H', time.gmtime(at_s)); datetime.fromtimestamp(at_s, UTC)")


@pytest.mark.parametrize(
    "line",
    [
        "ending.wait(0.2)",
        "ending.wait(timeout=PAUSE_S)",
        "changed.wait_for(true, 5)",
        "self._thread.join(IDLE_S * 10)",
        "thread.join(timeout=join_s)",
        "lock.acquire(timeout=5)",
        "loop.call_later(1.0, look)",
    ],
)
def test_a_drivers_wait_by_the_machines_clock_is_seen(line: str) -> None:
    """Of an event or a condition, a thread, a lock or an event loop; one without an end of its own, for what must
    come, is none, nor is the clock's.
    """
    driver = Path("orchestrator/drivers/any.py")
    assert waits(driver, line)
    assert not waits(driver, "lost.wait(); clock.wait(changed, 1); self._clock.wait(changed, 1)")
    assert not waits(driver, "lock.acquire(); thread.join(); ', '.join(names); balancer.join(member)")


def machines_time(text: str) -> list[str]:
    """What of a Python text reads the machine's clock, or sleeps by it."""
    seen = []
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.ImportFrom(module="time") | ast.Import(names=[ast.alias(name="time", asname=str())]):
                seen.append(ast.unparse(node))
            case ast.Call(func=ast.Attribute(value=ast.Name(id="time"), attr="localtime" | "gmtime"), args=[]):
                seen.append(ast.unparse(node))
            case ast.Attribute(value=ast.Name(id="time"), attr=attr) if attr not in {*ONLY_WRITTEN, *TIMES}:
                seen.append(ast.unparse(node))
            case ast.Attribute(attr="now" | "utcnow" | "today" | "time") if _of_the_machine(node):
                seen.append(ast.unparse(node))
    return seen


def _of_the_machine(node: ast.Attribute) -> bool:
    of = ast.unparse(node.value).rpartition(".")[2]
    return of in ({"loop", "_loop", "get_running_loop()"} if node.attr == "time" else {"date", "datetime"})


def waits(path: Path, text: str) -> list[str]:
    """Where a driver waits for something with an end that the machine's clock says."""
    if not path.is_relative_to("orchestrator/drivers"):
        return []
    nodes = ast.walk(ast.parse(text))
    calls = [node for node in nodes if isinstance(node, ast.Call) and (node.args or node.keywords)]
    return [
        ast.unparse(call)
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and (call.func.attr in {"wait", "wait_for", "call_later"} or _ends_in_time(call.func.attr, call))
        and ast.unparse(call.func.value).rpartition(".")[2] not in {"clock", "_clock"}
    ]


def _ends_in_time(verb: str, call: ast.Call) -> bool:
    """Whether a thread's end, or a lock, is waited for so long and no longer; strings and balancers join as well."""
    if any(keyword.arg == "timeout" for keyword in call.keywords):
        return verb in {"join", "acquire"}
    names = [node.id for node in ast.walk(call) if isinstance(node, ast.Name)]
    return verb == "join" and any(name.endswith(("_s", "_S")) for name in names)


def test_nothing_of_ours_is_mocked() -> None:
    """Tests use fakes that pass the contract suites, never unittest.mock."""
    mocking = [
        str(path.relative_to(REPOSITORY))
        for path in sorted((REPOSITORY / "tests").rglob("*.py"))
        if path != Path(__file__) and "unittest.mock" in path.read_text()
    ]
    assert not mocking


def lines(path: Path) -> int:
    """How many lines a file has."""
    return len(path.read_text().splitlines())
