"""The API through a real unix socket: what it answers, what it refuses, and that it keeps secrets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
from vmrole_unattend.secret import SecretRef, SecretSource
from vmrole_unattend.windows.answers import Answers, Command, Script

from orchestrator import errors
from orchestrator.api import rights
from orchestrator.api.guard import BODY_MAX_BYTES
from orchestrator.api.problems import status_of
from orchestrator.api.views import masked
from orchestrator.client.client import Client
from orchestrator.control import records
from orchestrator.model import Role, Verb
from orchestrator.model.right import Right
from tests.world.api_daemon import SECRET, SHOP, Daemon, exchange
from tests.world.images import DIGEST


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose world stands still."""
    with Daemon(tmp_path_factory.mktemp("daemon")) as running:
        yield running


@pytest.fixture
def daemon(shared: Daemon) -> Daemon:
    """It, with nothing recorded but the image `micro`."""
    shared.wipe()
    shared.give_image()
    return shared


@pytest.fixture
def client(daemon: Daemon) -> Client:
    """Its client."""
    return daemon.client()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidInput("x"), 422),
        (errors.ImageRejected("x", reason="backing-file"), 422),
        (errors.NotFound("x"), 404),
        (errors.Conflict("x"), 409),
        (errors.StaleRevision("x"), 409),
        (errors.Denied("x"), 403),
        (errors.Unreachable("x"), 503),
        (errors.NoSpace("x"), 503),
        (errors.CommandFailed(("false",), 1, ""), 503),
        (errors.Foreign("x"), 503),
        (errors.WaitedTooLong("x"), 504),
        (errors.ConfigError("x"), 500),
    ],
)
def test_each_error_has_the_status_of_the_table(error: errors.VmroleError, status: int) -> None:
    """An error's status is the one that the docstring of `errors` promises."""
    assert status_of(error) == status


def test_a_service_is_deployed_and_shown(client: Client) -> None:
    """Applying a document makes the service and its instances; applying it again changes nothing."""
    first = client.apply(SHOP)
    again = client.apply(SHOP)
    assert first["service"] is not None
    assert [change["key"] for change in first["changes"]] == ["shop"]
    assert again["changes"] == []
    assert again["service"] == first["service"] == client.service("shop")
    assert [one["name"] for one in client.instances("web.shop")] == ["web-0.shop", "web-1.shop", "web-2.shop"]
    assert client.instances("web-1")[0]["name"] == "web-1.shop"


def test_a_dry_run_changes_nothing(client: Client) -> None:
    """A dry run tells the changes and records none."""
    told = client.apply(SHOP, dry_run=True)
    assert told["changes"]
    assert told["service"] is None
    assert client.services() == []


def test_problems_have_the_lines_of_the_document(client: Client) -> None:
    """A faulty document is refused with every fault, its line and its key."""
    with pytest.raises(errors.InvalidInput) as raised:
        client.apply(SHOP.replace("image: micro", "image: macro").replace("instances: 3", "instances: many"))
    places = {(problem.line, problem.key) for problem in raised.value.problems}
    assert {(5, "roles.web.image"), (6, "roles.web.instances")} <= places


def test_a_document_that_is_no_text_is_refused(daemon: Daemon) -> None:
    """Bytes that are not UTF-8 are a faulty input, with the line, not a fault of the daemon."""
    body = b"service: shop\nvip: \xff\n"
    head = b"POST /v1/services HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % len(body)
    answer = exchange(daemon.socket, head + body)
    assert b" 422 " in answer
    assert b"line 2" in answer


def test_of_two_writers_one_gets_a_conflict(client: Client) -> None:
    """Two clients that read the same revision cannot both change the service."""
    service = client.apply(SHOP)["service"]
    assert service is not None
    read = service["revision"]
    client.scale("shop", {"web": 4}, expected=read)
    with pytest.raises(errors.StaleRevision):
        client.scale("shop", {"web": 2}, expected=read)
    with pytest.raises(errors.StaleRevision):
        client.apply(SHOP, expected=read)
    with pytest.raises(errors.StaleRevision):
        client.apply(SHOP, expected=0)
    assert client.service("shop")["roles"][0]["instances"] == 4


def test_writers_at_once_lose_nothing(daemon: Daemon) -> None:
    """Of many clients that scale from the same revision at once, exactly one wins and the others hear of it."""
    service = daemon.client().apply(SHOP)["service"]
    assert service is not None
    outcomes: list[str] = []

    def change(count: int) -> None:
        try:
            daemon.client().scale("shop", {"web": count}, expected=service["revision"])
            outcomes.append("won")
        except errors.StaleRevision:
            outcomes.append("stale")

    threads = [threading.Thread(target=change, args=(count,)) for count in range(4, 12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["stale"] * 7 + ["won"]


def test_the_etag_is_the_revision(daemon: Daemon) -> None:
    """What GET gives as ETag is what If-Match takes, quotes and all; anything else in If-Match is refused."""
    client = daemon.client()
    client.apply(SHOP)
    answer = exchange(daemon.socket, b"GET /v1/services/shop HTTP/1.0\r\n\r\n")
    etag = next(line for line in answer.split(b"\r\n") if line.lower().startswith(b"etag:")).split(b" ")[1]
    body = b'{"roles": {"web": 1}}'
    put = b"PUT /v1/services/shop/instances HTTP/1.0\r\ncontent-type: application/json\r\n"
    tail = b"content-length: %d\r\n\r\n%s" % (len(body), body)
    assert b" 422 " in exchange(daemon.socket, put + b'if-match: "x"\r\n' + tail).split(b"\r\n")[0]
    assert b" 200 " in exchange(daemon.socket, put + b"if-match: " + etag + b"\r\n" + tail).split(b"\r\n")[0]
    assert b" 409 " in exchange(daemon.socket, put + b"if-match: " + etag + b"\r\n" + tail).split(b"\r\n")[0]
    delete = b"DELETE /v1/services/shop HTTP/1.0\r\nif-match: " + etag + b"\r\n\r\n"
    assert b" 409 " in exchange(daemon.socket, delete).split(b"\r\n")[0]
    assert not client.service("shop")["removing"]


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (b"PUT /v1/services/shop/instances", b'{"roles": {"web": false}}'),
        (b"GET /v1/events?after=9223372036854775808", b""),
    ],
)
def test_a_number_is_a_number(daemon: Daemon, request_: bytes, body: bytes) -> None:
    """Neither a truth value, nor one that the store cannot hold."""
    daemon.client().apply(SHOP)
    head = request_ + b" HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    assert b" 422 " in exchange(daemon.socket, head + body).split(b"\r\n")[0]
    assert daemon.client().service("shop")["roles"][0]["instances"] == 3


def test_user_data_is_never_shown(daemon: Daemon) -> None:
    """No answer holds the user data of a role: it may hold secrets."""
    client = daemon.client()
    client.apply(SHOP)
    client.act("restart", "web-0")
    client.apply(SHOP.replace(SECRET, SECRET + "2"))
    paths = ["services", "services/shop", "instances?seats=true", "instances/web-0", "operations", "events", "verify"]
    told = b"".join(exchange(daemon.socket, f"GET /v1/{path} HTTP/1.0\r\n\r\n".encode()) for path in paths)
    messages = []
    for message in client.watch_instances("shop"):
        messages.append(message)
        if message[0] == "current":
            break
    assert b"***" in told
    assert SECRET.encode() not in told
    assert SECRET not in json.dumps(messages)
    assert SECRET not in json.dumps(client.apply(SHOP, dry_run=True))


@pytest.mark.parametrize(
    "path", ["/v1/instances/nope", "/v1/services/nope", "/v1/operations/nope", "/v1/images/nope"]
)
def test_what_is_not_there_is_not_found(daemon: Daemon, path: str) -> None:
    """An unknown name is answered 404 with a problem that says what to do."""
    answer = exchange(daemon.socket, f"GET {path} HTTP/1.0\r\n\r\n".encode())
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert b" 404 " in answer
    assert body["error"] == "NotFound"
    assert body["hint"].startswith("run: vmrole ")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /v2/nothing", 404),
        ("PATCH /v1/services", 405),
        ("GET /v1/events?limit=100000000", 422),
        ("GET /v1/events?after=-1", 422),
        ("GET /v1/instances/web-0/console?tail_bytes=99999999", 422),
    ],
)
def test_requests_of_another_kind_get_a_problem_too(daemon: Daemon, request_line: str, status: int) -> None:
    """The framework's own refusals have the body of ours."""
    answer = exchange(daemon.socket, f"{request_line} HTTP/1.0\r\n\r\n".encode())
    assert f" {status} ".encode() in answer.split(b"\r\n")[0]
    assert {"error", "message", "hint", "problems"} <= json.loads(answer.partition(b"\r\n\r\n")[2]).keys()


def test_a_body_that_is_too_large_is_refused(daemon: Daemon) -> None:
    """More than a mebibyte is refused by its announced length, and when it was not announced, by counting."""
    announced = b"POST /v1/services HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n#" % (BODY_MAX_BYTES + 1)
    chunk = b"10000\r\n" + b"#" * 0x10000 + b"\r\n"
    chunked = b"POST /v1/services HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    assert b" 413 " in exchange(daemon.socket, announced).split(b"\r\n")[0]
    assert b" 413 " in exchange(daemon.socket, chunked + chunk * 17 + b"0\r\n\r\n").split(b"\r\n")[0]
    assert daemon.client().health()["status"] == "ok"


def test_a_bug_is_answered_and_tells_nothing(
    daemon: Daemon, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the daemon is a 500 without a traceback; the daemon goes on and its log has the traceback."""
    monkeypatch.setitem(rights.NEEDS, "GET /v1/bug", Right.VIEWER)

    @daemon.app.get("/v1/bug")
    def bug() -> None:
        raise ZeroDivisionError(SECRET)

    answer = exchange(daemon.socket, b"GET /v1/bug HTTP/1.0\r\n\r\n")
    assert b" 500 " in answer.split(b"\r\n")[0]
    assert SECRET.encode() not in answer
    assert "ZeroDivisionError" in caplog.text
    assert daemon.client().health()["status"] == "ok"


def test_an_operation_is_a_resource(daemon: Daemon) -> None:
    """Asking for a restart gives an operation with its place, and the record survives."""
    daemon.client().apply(SHOP)
    body = b'{"verb": "restart", "subject": "web.shop", "together": 2}'
    head = b"POST /v1/operations HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    answer = exchange(daemon.socket, head + body)
    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert b" 202 " in answer.split(b"\r\n")[0]
    assert f"location: /v1/operations/{told['id']}".encode() in answer
    assert daemon.client().operation(told["id"]) == told
    assert [name for name, _ in told["targets"]] == ["web-0.shop", "web-1.shop", "web-2.shop"]


def test_the_console_is_the_end_of_its_log(daemon: Daemon) -> None:
    """The console of an instance is the last bytes of its log; before there is one, that is said."""
    client = daemon.client()
    client.apply(SHOP)
    with pytest.raises(errors.NotFound, match="no console log"):
        client.console("web-0", 100)
    log = daemon.layout.console(daemon.control.instance("web-0").name)
    log.parent.mkdir(parents=True)
    log.write_bytes(b"first line\n" * 100 + b"\x1b[31mlast\n")
    assert client.console("web-0", 10) == b"\x1b[31mlast\n"
    assert len(client.console("web-0", 100_000)) == 1110


def test_why_is_told_in_sentences(daemon: Daemon) -> None:
    """The sentences of an instance are those of the core."""
    client = daemon.client()
    client.apply(SHOP)
    assert client.why("web-0") == list(daemon.control.why("web-0"))


def test_what_a_windows_role_was_told_is_not_shown() -> None:
    """Texts in which somebody may have put a password are masked; where secrets come from is shown."""
    answers = Answers(
        administrator_password=SecretRef(source=SecretSource.FILE, name="/etc/vmrole/admin"),
        specialize=(Command(line=f"net user x {SECRET}"),),
        first_logon=(f"echo {SECRET}",),
        scripts=(Script(name="a.cmd", text=SECRET),),
        own_xml=f"<unattend>{SECRET}</unattend>",
    )
    role = Role(name="web", image="w", image_sha256=DIGEST, unattend=answers, vendor_data=SECRET, user_data=SECRET)
    shown = str(records.to_json(masked(role)))
    assert SECRET not in shown
    assert "/etc/vmrole/admin" in shown


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_service_file_reaches_no_file_but_the_owners_secrets(daemon: Daemon, dry_run: bool) -> None:
    """What the daemon can read and the client cannot is no different from what is not there: neither is looked at."""

    def said(source: str) -> str:
        text = SHOP[: SHOP.index("      userData:")] + f"      userData: {{{source}}}\n"
        with pytest.raises(errors.InvalidInput) as caught:
            daemon.client().apply(text, dry_run=dry_run)
        (problem,) = caught.value.problems
        assert problem.key == "roles.web.answers.userData"
        return str(problem.message).replace(source.partition(": ")[2], "NAME")

    places = (
        "/etc/shadow",
        "/etc/passwd",
        "/nowhere",
        "/proc/self/environ",
        f"{daemon.secrets_dir}/../state/vmrole.db",
    )
    assert len({said(f"file: {place}") for place in places}) == 1
    assert len({said(f"env: {name}") for name in ("HOME", "NOBODY")}) == 1
    daemon.secrets_dir.mkdir(mode=0o700, exist_ok=True)
    (daemon.secrets_dir / "web.yaml").touch(0o600)
    (daemon.secrets_dir / "web.yaml").write_text("")
    assert "it is empty" in said("secret: web.yaml")
    assert "there is no such secret" in said("secret: other.yaml")
    (daemon.secrets_dir / "web.yaml").write_text("#cloud-config\n")
    text = SHOP[: SHOP.index("      userData:")] + "      userData: {secret: web.yaml}\n"
    assert daemon.client().apply(text, dry_run=True)["changes"]


def test_verify_finds_what_no_record_knows(daemon: Daemon) -> None:
    """What lies around without a record is a finding of the API."""
    assert daemon.client().findings() == []
    daemon.world.networks["ghost"] = frozenset()
    found = daemon.client().findings()
    assert [(one["code"], one["subject"]) for one in found] == [("NETWORK-STRAY", "ghost")]
    assert daemon.client().repair() == found
    assert daemon.client().findings() == []


def test_a_service_without_instances_has_none(client: Client) -> None:
    """A service or role whose instances are all gone is an empty list; a role or service that is not there is not."""
    client.apply(SHOP.replace("instances: 3", "instances: 0"))
    assert client.instances("shop") == client.instances("web.shop") == []
    for unknown in ("db.shop", "web.shot", "shot", "web-0"):
        with pytest.raises(errors.NotFound):
            client.instances(unknown)


def test_acting_on_nothing_is_not_found(client: Client) -> None:
    """A reimage of something that does not exist is refused."""
    for verb in Verb:
        with pytest.raises(errors.NotFound):
            client.act(verb, "web-0.shop")
