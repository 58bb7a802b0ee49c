"""Values of the right shape that do not do what they are meant to are found; what works is not spoken of."""

from __future__ import annotations

import pytest
from vmrole_unattend import cloud_check
from vmrole_unattend.cloud_check import Severity

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7Q0JtYqkq3CkF3nq6m1c8l2m9vYyTn0r0zHc0mV1mT"
SECRET = "hunter2"
BEGIN = "-----BEGIN OPENSSH PRIVATE KEY-----"
HASH = "$6$rounds=4096$salt$abcdefgh"


def found(text: str) -> list[tuple[int, str, str]]:
    """Line, path and code of each finding, without the word whose schema it was."""
    return [(one.line, one.path, one.code) for one in cloud_check.check(text) if one.code != "schema"]


def user(more: str) -> str:
    """A cloud-config with one user, who has these lines."""
    return "users:\n- name: app\n" + "".join(f"  {line}\n" for line in more.splitlines())


def file(more: str) -> str:
    """A cloud-config with one file, which has these lines."""
    return "write_files:\n- path: /etc/app\n" + "".join(f"  {line}\n" for line in more.splitlines())


@pytest.mark.parametrize(
    ("config", "line", "path", "code"),
    [
        (user(f"lock_passwd: false\npasswd: {SECRET}"), 5, "users.0.passwd", "no-hash"),
        (user(f"lock_passwd: false\nhashed_passwd: {SECRET}"), 5, "users.0.hashed_passwd", "no-hash"),
        (f"chpasswd:\n  users:\n  - {{name: app, password: {SECRET}}}\n", 4, "chpasswd.users.0.password", "no-hash"),
        (user(f"plain_text_passwd: {SECRET}"), 4, "users.0.plain_text_passwd", "locked"),
        (user(f"passwd: {HASH}"), 4, "users.0.passwd", "locked"),
        (user(f"ssh_authorized_keys:\n- '{BEGIN}'"), 5, "users.0.ssh_authorized_keys.0", "private-key"),
        ("ssh_authorized_keys:\n- ssh-rsa\n", 3, "ssh_authorized_keys.0", "no-key"),
        ("ssh_authorized_keys:\n- ssh-ed25519 not!base64 me\n", 3, "ssh_authorized_keys.0", "no-key"),
        (f"ssh_authorized_keys:\n- {KEY.replace('ed25519', 'rsa')}\n", 3, "ssh_authorized_keys.0", "no-key"),
        (f"ssh_authorized_keys:\n- |\n  {KEY[:40]}\n  {KEY[40:]}\n", 3, "ssh_authorized_keys.0", "no-key"),
        (f"ssh_keys:\n  ed25519_private: |\n    {BEGIN}\n", 3, "ssh_keys.ed25519_private", "no-key"),
        ("ssh_keys:\n  rsa_public: ssh-rsa AAAA\n", 3, "ssh_keys.rsa_public", "no-key"),
        ("users:\n- name: app\n- name: app\n", 4, "users.1", "twice"),
        ("users:\n- name: 'a b'\n", 3, "users.0.name", "name"),
        (user("groups: sudo docker"), 4, "users.0.groups", "name"),
        (user("groups: [sudo docker]"), 4, "users.0.groups", "name"),
        (user("shell: bash"), 4, "users.0.shell", "no-path"),
        (user("sudo: 'yes'"), 4, "users.0.sudo", "sudoers"),
        (user("sudo: ALL=(ALL) NOPASWD:ALL"), 4, "users.0.sudo", "sudoers"),
        (user("sudo:\n- ALL=(ALL) NOPASSWD ALL\n- ALL=(ALL) NO_PASSWD:ALL"), 4, "users.0.sudo", "sudoers"),
        (file("encoding: b64\ncontent: '!!! not base64'"), 5, "write_files.0.content", "encoding"),
        (file("encoding: base64\ncontent: aGVsbG8"), 5, "write_files.0.content", "encoding"),
        (file("encoding: gz+b64\ncontent: aGVsbG8="), 5, "write_files.0.content", "encoding"),
        (file("encoding: gzip\ncontent: hello"), 5, "write_files.0.content", "encoding"),
        (file("permissions: '0999'"), 4, "write_files.0.permissions", "mode"),
        (file("permissions: u+rwx"), 4, "write_files.0.permissions", "mode"),
        ("write_files:\n- path: /etc/\n  content: a\n", 3, "write_files.0.path", "directory"),
        (file("owner: app:app") + user("uid: 2000"), 4, "write_files.0.owner", "too-early"),
        ("runcmd:\n- [echo, hello, '>', /x]\n", 3, "runcmd.0", "no-shell"),
        ("bootcmd:\n- [cat, /etc/passwd, '|', wc]\n", 3, "bootcmd.0", "no-shell"),
        ("runcmd:\n- [find, /x, -name, y, '|', wc]\n", 3, "runcmd.0", "no-shell"),
        ("runcmd:\n- [sudo, -u, app, echo, a, '>>', /x]\n", 3, "runcmd.0", "no-shell"),
        ("runcmd:\n- ['apt-get install -y nginx']\n", 3, "runcmd.0", "no-shell"),
        ("runcmd:\n- ls\n- sudo systemctl reboot\n", 4, "runcmd.1", "restarts"),
        ("bootcmd:\n- [/sbin/shutdown, -h, now]\n", 3, "bootcmd.0", "restarts"),
        ("hostname: a_b\n", 2, "hostname", "name"),
        ("hostname: -web\n", 2, "hostname", "name"),
        ("hostname: \u201cweb\u201d\n", 2, "hostname", "name"),
        ("fqdn: 'web 0.example.org'\n", 2, "fqdn", "name"),
        ("timezone: Mars/Phobos\n", 2, "timezone", "zone"),
        ("ntp: {servers: ['http://time.example.org']}\n", 2, "ntp.servers.0", "name"),
        ("packages:\n- nginx curl\n", 3, "packages.0", "name"),
        ("packages:\n- --no-install-recommends\n", 3, "packages.0", "name"),
        ("disk_setup:\n  /dev/vda: {layout: true, overwrite: true}\n", 3, "disk_setup./dev/vda", "wipes"),
        ("fs_setup:\n- {device: /dev/vda1, filesystem: ext4, overwrite: true}\n", 3, "fs_setup.0", "wipes"),
        ("ca_certs:\n  trusted:\n  - not a certificate\n", 4, "ca_certs.trusted.0", "no-certificate"),
        ("merge_how: dicts(replace)\n", 2, "merge_how", "merge"),
        ("runcmd:\n- echo \u202e x\n", 3, "", "invisible"),
        ("runcmd:\n- ec\u200bho x\n", 3, "", "invisible"),
        ("users:\n\u00a0\u00a0- name: app\n", 3, "", "invisible"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_work_is_found(config: str, line: int, path: str, code: str) -> None:
    """Nothing of it is shown."""
    text = f"#cloud-config\n{config}"
    assert (line, path, code) in found(text)
    for one in cloud_check.check(text):
        assert one.severity in (Severity.WARNING, Severity.NOTE)
        assert SECRET not in f"{one.path} {one.message} {one.mend}"
        if one.code == code:
            assert one.mend


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        ("#cloud-boothook\necho hello\n", 2, "interpreter"),
        ("#!/usr/bin/env bash -e\ntrue\n", 1, "interpreter"),
        ("#part-handler\ndef list_types(:\n", 2, "handler"),
        ("#part-handler\ndef list_types():\n    return []\n", 1, "handler"),
        ("#include\nhttps://\n", 2, "no-url"),
        ('#cloud-config-jsonp\n[{"op": "put", "path": "/a", "value": 1}]\n', 1, "json"),
        ('#cloud-config-jsonp\n[{"op": "add", "path": "a", "value": 1}]\n', 1, "json"),
        ("#!/bin/sh\necho \u2066x\u2069\n", 2, "invisible"),
        (
            "Content-Type: multipart/mixed; boundary=x\nMIME-Version: 1.0\n\n"
            "--x\nContent-Type: text/x-cloud-config\n\n#cloud-config\nhostname: web\n--x--\n",
            0,
            "no-handler",
        ),
    ],
)
def test_other_parts_have_faults_of_their_own(text: str, line: int, code: str) -> None:
    """Scripts, handlers, lists of addresses, patches, and a type that nobody takes."""
    assert (line, code) in [(at, which) for at, _, which in found(text)]


@pytest.mark.parametrize(
    "config",
    [
        user(f"lock_passwd: false\npasswd: {HASH}\nsudo: 'ALL=(ALL) NOPASSWD: /usr/bin/env, SETENV:ALL'"),
        user("lock_passwd: true\npasswd: '!'\ngroups: [adm, sudo]"),
        user("groups: adm, sudo\nsudo: 'ALL=(app:app) ALL'\nshell: /bin/sh"),
        user("lock_passwd: false\nplain_text_passwd: '{{ password }}'"),
        f"ssh_authorized_keys:\n- {KEY} me@example.org\n- from=\"10.0.0.1\" {KEY}\n- <your key>\n- ssh-rsa AAAA...\n",
        f"chpasswd:\n  users:\n  - {{name: app, password: {SECRET}, type: text}}\n  - {{name: b, type: RANDOM}}\n",
        file("permissions: '0o640'\nowner: root:root\ncontent: hello") + user("uid: 2000"),
        file("owner: app\ndefer: true\nencoding: b64\ncontent: |\n  aGVs\n  bG8=") + user("uid: 2000"),
        file("encoding: gz+b64\ncontent: H4sIAAAAAAAAA8tIzcnJBwCGphA2BQAAAA=="),
        "runcmd:\n- echo a > /x\n- [sh, -c, 'a | b']\n- [reboot-app]\n- shutdown --help\n- [ls]\n",
        "hostname: web-0\nfqdn: web-0.example.org.\ntimezone: Europe/Berlin\nntp: {servers: [10.0.0.1]}\n",
        "runcmd:\n- [find, /x, -exec, rm, '{}', ';']\n- [sudo, find, /x, -exec, 'ls', '{}', ';']\n",
        "runcmd:\n- [grep, -c, '|', /x]\n- [cut, -d, ';', -f, '1', /x]\n- [test, a, '<', b]\n- [/bin/tr, '|', ' ']\n",
        "packages:\n- nginx\n- [curl, '7.88']\n- python3=3.11*\n- libc6:i386\n",
        "disk_setup:\n  /dev/vdb: {layout: true, overwrite: true}\nfs_setup:\n- {device: /dev/vda1}\n",
        "merge_how: dict(replace, recurse_list)+list(append)+str()\nruncmd: [ls]\n",
        "write_files:\n- path: /etc/motd\n  content: 'h\u00e9llo \u65e5\u672c \U0001f9d1\u200d\U0001f4bb'\n",
    ],
)  # fmt: skip
def test_a_value_that_works_is_not_spoken_of(config: str) -> None:
    """Nor one that another program fills in."""
    assert found(f"#cloud-config\n{config}") == []
