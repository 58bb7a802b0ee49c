"""The pytest plugin `vmrole`: services on real virtual machines as fixtures.

    def test_a_reimage_keeps_nothing(vmrole_service):
        shop = vmrole_service("shop.yaml")
        web = shop["web-0"]
        web.run("touch /marker")
        web.reimage()
        assert web.run("test -e /marker", check=False).status == 1

A service is deleted when the scope of its fixture ends. When a test fails, the report says of each instance why it is
as it is, and how its console ends.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from orchestrator.client.client import Client
from orchestrator.errors import StaleRevision, VmroleError
from orchestrator.testing.deployed import Service, deploy

WITHIN_S = 1800.0  # a guest that is emulated takes minutes to set itself up
Deploy = Callable[..., Service]
_DEPLOYED = pytest.StashKey[list[Service]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the command line, and what may stand in a configuration file."""
    group = parser.getgroup("vmrole", "services on virtual machines")
    group.addoption("--vmrole-socket", metavar="PATH", default="", help="The daemon's socket (else VMROLE_SOCKET).")
    group.addoption(
        "--vmrole-keep",
        choices=("never", "failed", "always"),
        default="never",
        help="Whose services stay for a look when their scope ends.",
    )
    within = f"Seconds that a service, or a verb, may take (default: {WITHIN_S:.0f})."
    parser.addini("vmrole_timeout", within, default=str(WITHIN_S))


def pytest_configure(config: pytest.Config) -> None:
    """Notes that nothing is deployed."""
    config.stash[_DEPLOYED] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that has failed tells how the instances are that it may have been about."""
    report = yield
    if report.failed:
        for service in item.config.stash[_DEPLOYED]:
            report.sections += [(f"vmrole: {name}", story) for name, story in _story(service)]
            if item.config.getoption("vmrole_keep") != "never":
                told = f"kept for a look; then: vmrole delete service {service.name}"
                report.sections.append((f"vmrole: {service.name}", told))
    return report


def _story(service: Service) -> list[tuple[str, str]]:
    try:
        return [*service.story().items()]
    except VmroleError as error:
        return [(service.name, str(error))]


@pytest.fixture(scope="session")
def vmrole_client(request: pytest.FixtureRequest) -> Client:
    """A client of the daemon, for what the fixtures have no word for."""
    client = Client(str(request.config.getoption("vmrole_socket")))
    try:
        client.health()
    except VmroleError as error:
        pytest.fail(f"{error}\nhint: {error.hint}", pytrace=False)
    return client


@pytest.fixture
def vmrole_service(request: pytest.FixtureRequest, vmrole_client: Client) -> Iterator[Deploy]:
    """`vmrole_service(FILE)` deploys a service for one test; see `_deploying`."""
    yield from _deploying(request, vmrole_client)


@pytest.fixture(scope="module")
def module_vmrole_service(request: pytest.FixtureRequest, vmrole_client: Client) -> Iterator[Deploy]:
    """`module_vmrole_service(FILE)` deploys a service for the tests of a module."""
    yield from _deploying(request, vmrole_client)


@pytest.fixture(scope="session")
def session_vmrole_service(request: pytest.FixtureRequest, vmrole_client: Client) -> Iterator[Deploy]:
    """`session_vmrole_service(FILE)` deploys a service for the whole run."""
    yield from _deploying(request, vmrole_client)


def _deploying(request: pytest.FixtureRequest, client: Client) -> Iterator[Deploy]:
    """What deploys services, and deletes them when the fixture's scope ends."""
    ours: list[Service] = []
    deployed = request.config.stash[_DEPLOYED]
    failed_before = request.session.testsfailed

    def vmrole_service(file: str | Path, *, unique: bool = True, wait: bool = True, timeout_s: float = 0) -> Service:
        """Applies FILE and waits until its instances serve.

        `unique`: the service's name gets a suffix, so that runs do not meet; without, the name must be free.
        """
        within_s = timeout_s or float(request.config.getini("vmrole_timeout"))
        service = _new(client, file, _read(request, file), within_s, _suffix() if unique else "")
        ours.append(service)
        deployed.append(service)
        if wait:
            service.wait()
        return service

    try:
        yield vmrole_service
    finally:
        keep = request.config.getoption("vmrole_keep")
        failed = request.session.testsfailed > failed_before
        for service in reversed(ours):
            deployed.remove(service)
            if keep == "never" or (keep == "failed" and not failed):
                service.delete()


def _new(client: Client, file: str | Path, text: str, within_s: float, suffix: str) -> Service:
    """The service, deployed; a file that is refused fails the test with what is wrong in it, and no more."""
    try:
        return deploy(client, text, within_s, suffix=suffix)
    except StaleRevision:
        refusal = f"{file}: there is a service of that name, and it is somebody's"
        hint = "delete it, or let the name get a suffix: unique=True"
    except VmroleError as error:
        refusal = "\n".join([f"{file}: {error}", *(str(each) for each in getattr(error, "problems", ()))])
        hint = error.hint
    pytest.fail(f"{refusal}\nhint: {hint}", pytrace=False)


def _suffix() -> str:
    return f"-{secrets.token_hex(3)}"


def _read(request: pytest.FixtureRequest, file: str | Path) -> str:
    """The file's text; a relative path is seen from the test's own file first, then from the root of the tests."""
    own = Path(str(request.path)).parent if request.scope != "session" else request.config.rootpath
    places = [own / file, request.config.rootpath / file]
    for place in places:
        if place.is_file():
            return place.read_text(encoding="utf-8")
    pytest.fail(f"there is no {' and no '.join(dict.fromkeys(map(str, places)))}", pytrace=False)
