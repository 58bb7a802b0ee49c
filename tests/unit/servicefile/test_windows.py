"""The service file of a Windows role: what is good, and for everything bad the key and what would be right."""

from __future__ import annotations

import dataclasses

import pytest
from vmrole_unattend.secret import SecretRef, SecretSource
from vmrole_unattend.windows.answers import Account, Answers, Command, Edition, Join, Restart, Script, Windows

from orchestrator import servicefile
from orchestrator.model import AnswerFormat, Deadlines, Os, Ready, Setup
from tests.world.images import MICRO
from tests.world.windows_service_files import GOOD, WINDOWS, parse, problems


def file(name: str) -> SecretRef:
    """A secret in a file."""
    return SecretRef(source=SecretSource.FILE, name=name)


def test_every_wish_ends_up_in_its_place() -> None:
    """The role holds what the file said, the image's machine, and references instead of secrets."""
    role = parse(GOOD)
    assert role.unattend == Answers(
        windows=Windows.W2022,
        edition=Edition.SERVER,
        computer_name="WEB{index}",
        time_zone="W. Europe Standard Time",
        locale="de-DE",
        organization="Contoso",
        administrator_password=file("/etc/vmrole/admin"),
        product_key=SecretRef(source=SecretSource.ENV, name="KEY"),
        accounts=(
            Account(
                name="Operator",
                password=SecretRef(source=SecretSource.CREDENTIAL, name="operator"),
                group="Users",
            ),
        ),
        join=Join(domain="corp.example", user="joiner", password=file("/etc/vmrole/join")),
        remote_desktop=True,
        specialize=(Command(line="cmd /c ver", description="shows the version", restart=Restart.ON_REQUEST),),
        first_logon=("cmd /c first.cmd",),
        scripts=(Script(name="first.cmd", text="echo hello\n"),),
    )
    assert (role.os, role.answers, role.hardware) == (Os.WINDOWS, AnswerFormat.UNATTEND, WINDOWS.hardware)
    assert (role.ready.units, role.ready.ignore, role.ready.delayed) == (("W3SVC",), ("Spooler",), True)
    assert role.setup == Setup(within_s=servicefile.WINDOWS_SETUP_S)


def test_a_tested_image_suggests_its_deadlines() -> None:
    """What `image test` measured stands where the file says nothing, and gives way where it does."""
    tested = dataclasses.replace(WINDOWS, suggested=Deadlines(setup_s=1234.0, ready_s=56.0))
    role = parse(GOOD, tested)
    assert (role.setup.within_s, role.ready.within_s) == (1234.0, 56.0)
    said = parse(GOOD + "    setup: {within: 5 min}\n", tested)
    assert (said.setup.within_s, said.ready.within_s) == (300.0, 56.0)
    assert parse(GOOD).ready.within_s == Ready().within_s


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        ("{file: /etc/vmrole/admin}", "hunter2", "administratorPassword", "does not stand in the service file"),
        ("{env: KEY}", "{env: KEY, file: /x}", "productKey", "does not stand in the service file"),
        ("{env: KEY}", "{vault: KEY}", "productKey", "does not stand in the service file"),
        ("windows: 2022", "windows: 2023", "windows", "2023"),
        ("edition: server", "edition: core", "edition", "core"),
        ("timeZone:", "timezone:", "timezone", "no such key"),
        ("restart: OnRequest", "restart: maybe", "specialize.0.restart", "maybe"),
        ("firstLogon: [cmd /c first.cmd]", "firstLogon: 7", "firstLogon", "7"),
        (
            "{password: {credential: operator}, group: Users}",
            "{group: Users}",
            "accounts.Operator.password",
            "missing",
        ),
        ("first.cmd: |\n            echo hello", "first.cmd: 7", "scripts.first.cmd", "not a string"),
        ('computerName: "WEB{index}"', 'computerName: "a-name-that-is-too-long-{index}"', "computerName", ""),
        ('computerName: "WEB{index}"', "computerName: WEB", "computerName", ""),
    ],
)
def test_each_fault_has_its_key(old: str, new: str, key: str, message: str) -> None:
    """A wrong value is told by its key, on its line."""
    assert old in GOOD
    found = problems(GOOD.replace(old, new))
    at = f"roles.web.answers.unattend.{key}"
    assert [one for one in found if one.key == at and message in one.message and one.line], found


def test_machines_of_two_roles_do_not_share_a_name() -> None:
    """The name of a computer is one in its network, whatever role it is of; case does not tell two apart."""
    other = GOOD[GOOD.index("  web:") :].replace("  web:", "  app:", 1).replace("WEB{index}", "web{index}")
    (fault,) = problems(GOOD + other)
    assert fault.key == "roles.app.answers.unattend.computerName"
    assert "web-0 and app-0 would both be called 'web0'" in fault.message
    assert fault.line


def test_a_secret_that_cannot_be_had_is_a_fault_of_the_file() -> None:
    """It is told when the service is applied, not when an instance sets itself up at night."""
    found = problems(GOOD, why_not="it cannot be read")
    assert {one.key for one in found} == {
        f"roles.web.answers.unattend.{key}"
        for key in ("administratorPassword", "productKey", "accounts.Operator.password", "join.password")
    }
    assert all("it cannot be read" in one.message for one in found)


def test_a_secret_in_the_file_is_not_repeated() -> None:
    """A password that stood in the file by mistake is not in the answer."""
    found = problems(GOOD.replace("{file: /etc/vmrole/admin}", "hunter2"))
    assert "hunter2" not in repr(found)


def test_ones_own_xml_stands_there_or_elsewhere() -> None:
    """As text, or named like a secret when it holds passwords."""
    own = '<unattend xmlns="urn:schemas-microsoft-com:unattend" />'
    head = GOOD[: GOOD.index("        windows: 2022")] + "        administratorPassword: {file: /p}\n"
    written = parse(head + f"        xml: '{own}'\n").unattend
    assert written is not None
    assert (written.own_xml, written.own_xml_from) == (own, None)
    named = parse(head + "        xml: {file: /etc/vmrole/unattend.xml}\n").unattend
    assert named is not None
    assert (named.own_xml, named.own_xml_from) == ("", file("/etc/vmrole/unattend.xml"))


@pytest.mark.parametrize(
    "said", ["hunter2", "[[hunter2, x]]", "[hunter2]", "['-----BEGIN OPENSSH PRIVATE KEY----- hunter2']"]
)
def test_what_is_no_public_key_is_not_repeated(said: str) -> None:
    """It may be the private half of one."""
    head = GOOD[: GOOD.index("      unattend:")]
    (fault,) = problems(head + f"      publicKeys: {said}\n", MICRO)
    assert fault.key == "roles.web.answers.publicKeys"
    assert "hunter2" not in repr(fault)
    assert ".pub" in fault.hint


def test_windows_and_cloud_init_are_not_mixed_up() -> None:
    """What an image does not read may not be said of it."""
    user_data = GOOD[: GOOD.index("      unattend:")] + "      userData: '#cloud-config'\n"
    assert "roles.web.answers.userData" in {one.key for one in problems(user_data)}
    assert "roles.web.answers.unattend" in {one.key for one in problems(GOOD, MICRO)}
    assert [one.key for one in problems(GOOD + "    setup: {restart: false}\n")] == ["roles.web.setup.restart"]


def test_cloudbase_init_is_told_what_it_reads() -> None:
    """PowerShell is user-data there and nowhere else; vendor-data is not read; a name has fifteen characters."""
    cloudbase = dataclasses.replace(WINDOWS, answers=AnswerFormat.CONFIG_DRIVE)
    head = GOOD[: GOOD.index("      unattend:")]
    powershell = head + "      userData: |\n        #ps1_sysnative\n        Write-Output hello\n"
    assert parse(powershell, cloudbase).user_data.startswith("#ps1_sysnative")
    assert problems(powershell, MICRO)[0].key == "roles.web.answers.userData"
    vendor = head + "      vendorData: '#cloud-config'\n"
    assert problems(vendor, cloudbase)[0].key == "roles.web.answers.vendorData"
    kept = head + (
        "      userData: {file: /etc/vmrole/setup.ps1}\n"
        "      adminPassword: {env: ADMIN}\n"
        "      publicKeys: [ssh-ed25519 AAAA me]\n"
    )
    role = parse(kept, cloudbase)
    admin = SecretRef(source=SecretSource.ENV, name="ADMIN")
    assert (role.user_data, role.user_data_from) == ("", file("/etc/vmrole/setup.ps1"))
    assert (role.admin_password, role.public_keys) == (admin, ("ssh-ed25519 AAAA me",))
    assert role.secrets == (role.user_data_from, role.admin_password)
    assert {one.key for one in problems(kept, cloudbase, "it is gone")} == {
        "roles.web.answers.userData",
        "roles.web.answers.adminPassword",
    }
    assert [one.key for one in problems(kept, MICRO)] == ["roles.web.answers.adminPassword"]
    long = powershell.replace("  web:", "  a-role-with-a-long-name:")
    assert problems(long, cloudbase)[0].key == "roles.a-role-with-a-long-name"


def test_one_join_blob_for_several_computers_is_refused() -> None:
    """A blob is the account of one computer: two with it would throw each other out of the domain."""
    join = "join: {domain: corp.example, user: joiner, password: {file: /etc/vmrole/join}}"
    blob = GOOD.replace(join, "join: {blob: {file: /etc/vmrole/blob}}")
    (problem,) = problems(blob)
    assert (problem.key, problem.line) == ("roles.web.answers.unattend.join.blob", 19)
    assert "2 instances" in problem.message
    assert problem.hint
    alone = parse(blob.replace("instances: 2", "instances: 1"))
    assert not list(servicefile.computer_faults("shop", [alone]))
    (scaled,) = servicefile.computer_faults("shop", [dataclasses.replace(alone, instances=3)])
    assert scaled.key == problem.key
