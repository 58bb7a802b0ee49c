"""The check of user-data: what it finds and where, and that it agrees with cloud-init's own validator."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from vmrole_unattend import _cloud_schema, _cloud_yaml, cloud_check
from vmrole_unattend.cloud_check import Diagnostic, Severity

_HEAD = "#cloud-config\n"


def _found(text: str) -> list[tuple[int, str, str]]:
    """Line, path and code of each finding."""
    return [(finding.line, finding.path, finding.code) for finding in _without_note(text)]


def _without_note(text: str, **options: str) -> list[Diagnostic]:
    """All but the word whose schema it was."""
    return [finding for finding in cloud_check.check(text, **options) if finding.code != "schema"]


@pytest.mark.parametrize(
    ("key", "code", "mend"),
    [("power_state", "power-state", "setup.restart"), ("autoinstall", "autoinstall", "at the top")],
)
def test_what_has_no_effect_in_an_instance_is_told(key: str, code: str, mend: str) -> None:
    """It was written for something else that reads user-data: an installer, or a machine that nobody watches."""
    text = f"#cloud-config\nhostname: a\n{key}:\n  version: 1\n"
    (note,) = [one for one in cloud_check.check(text, schema_file=Path("/nonexistent")) if one.code == code]
    assert (note.severity, note.line, note.path) == (Severity.NOTE, 3, key)
    assert mend in note.mend


@pytest.mark.parametrize(
    ("text", "line", "path", "code", "says"),
    [
        ("runcmd: hello\n", 2, "runcmd", "type", "must be a list"),
        ("packages:\n- a\n- [b, 1]\n", 4, "packages.1.1", "type", "must be text"),
        ("run_cmd: [a]\n", 2, "run_cmd", "unknown-key", "did you mean runcmd"),
        ("frobnicate: 1\n", 2, "frobnicate", "unread-key", "no module"),
        ("users:\n- name: x\n  sudoo: a\n", 4, "users.0.sudoo", "unknown-key", "did you mean sudo"),
        ("write_files:\n- path: /x\n  permissions: 0644\n", 4, "write_files.0.permissions", "type", "must be text"),
        ("write_files:\n- content: x\n", 3, "write_files.0", "missing-key", "path must be given"),
        ("power_state: {mode: maybe}\n", 2, "power_state.mode", "enum", "must be one of"),
        ("ssh_pwauth: 'yes'\n", 2, "ssh_pwauth", "deprecated", "non-boolean"),
        ("swap: {size: 1}\nhostname: 5\n", 3, "hostname", "type", "must be text"),
        ("hostname: 2001-01-01\n", 2, "hostname", "type", "must be text"),
        ("ntp: {servers: [a, a]}\n", 2, "ntp.servers", "twice", "twice"),
        ("runcmd: []\n", 2, "runcmd", "too-few", "must not be empty"),
        ("runcmd: [a]\nbootcmd: [b]\nruncmd: [c]\n", 4, "runcmd", "twice", "is lost"),
        ("a: b: c\n", 2, "", "yaml", "mapping values"),
        ("runcmd:\n\t- a\n", 3, "", "yaml", "cannot start any token"),
        ("- a\n", 1, "", "not-a-mapping", "pass over"),
        ("runcmd: [" + "[" * 500 + "\n", 1, "", "yaml", "nested too deeply"),
        ("hostname: !secret x\n", 2, "", "yaml", "could not determine a constructor"),
        ("timezone: 2001-99-99\n", 2, "", "yaml", "date"),
    ],
)
def test_a_cloud_config_that_would_not_do_is_found(text: str, line: int, path: str, code: str, says: str) -> None:
    """Each with its line, its path and a sentence that says what would be right."""
    findings = [finding for finding in cloud_check.check(_HEAD + text) if finding.code == code]
    assert [(finding.line, finding.path) for finding in findings] == [(line, path)]
    (finding,) = findings
    assert says in f"{finding.message}; {finding.mend}"
    assert finding.severity is Severity.WARNING
    assert finding.part == "user-data"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        _HEAD,
        f"{_HEAD}# only a comment\n",
        f"{_HEAD}runcmd:\n- [touch, /x]\n- echo hello\n",
        f"{_HEAD}x-base: &base {{name: x}}\nusers:\n- default\n- <<: *base\n  name: y\n  groups: [a]\n",
        f"{_HEAD}write_files:\n- path: /x\n  content: !!binary aGVsbG8=\n  permissions: '0644'\n",
        f"{_HEAD}hostname: y\nlocale: 1e3\n",
        f"{_HEAD}apt_mirror: http://x\nmerge_how: dict(replace)+list()+str()\noutput: {{all: x}}\n",
        "#!/bin/sh\necho hello\n",
        "#!/bin/sh\r\necho dos\r\n",
        "#cloud-boothook\n#!/bin/sh\ntrue\n",
        "#cloud-boothook\r\n#!/bin/sh\r\ntrue\r\n",
        "#include\nhttps://example.org/x\n# a comment\n\n",
        '#cloud-config-jsonp\n[{"op": "add", "path": "/a", "value": 1}]\n',
        '#cloud-config-archive\n- "#!/bin/sh\\ntrue"\n- {type: text/cloud-config, content: "hostname: x"}\n',
        "#cloud-config-archive\n- 'hostname: x'\n- {type: a/b, content: x}\n",
    ],
)  # fmt: skip
def test_what_is_right_is_not_spoken_of(text: str) -> None:
    """No warning for what cloud-init takes as it is meant."""
    assert [finding for finding in cloud_check.check(text) if finding.severity is not Severity.NOTE] == []


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        ("#!bash\n", 1, "interpreter"),
        ("#include\nhttps://example.org/\nelsewhere\n", 3, "no-url"),
        ("#cloud-config-jsonp\n[{]\n", 2, "json"),
        ('#cloud-config-jsonp\n{"op": "add"}\n', 1, "not-a-list"),
        ("#cloud-config-archive\na: 1\n", 1, "not-a-list"),
        ("#cloud-config-archive\n- a: [\n", 3, "yaml"),
        ("#cloud-config-archive\n- 'a: 1'\n- 5\n", 3, "no-content"),
        ("#cloud-config-archive\n- 'a: 1'\n- {type: cloud-config, content: 'a: 1'}\n", 3, "no-type"),
    ],
)
def test_other_types_are_looked_at_too(text: str, line: int, code: str) -> None:
    """Scripts, lists of addresses, patches and archives have mistakes of their own."""
    assert (line, code) in [(found_line, found) for found_line, _, found in _found(text)]


def test_parts_are_told_apart() -> None:
    """In a MIME message and in an archive a finding names its part, and the line in it."""
    mime = (
        'Content-Type: multipart/mixed; boundary="x"\nMIME-Version: 1.0\n\n'
        "--x\nContent-Type: text/cloud-config\n\n#cloud-config\nhostname: web\n"
        "--x\nContent-Type: text/cloud-config\nContent-Transfer-Encoding: base64\n\n"
        "I2Nsb3VkLWNvbmZpZwpydW5jbWQ6IGhlbGxvCg==\n--x--\n"
    )
    (finding,) = _without_note(mime)
    assert (finding.part, finding.line, finding.path) == ("user-data: part 2", 2, "runcmd")
    archive = '#cloud-config-archive\n- "#!/bin/sh\\n"\n- "#cloud-config\\nhostname: x\\nruncmd: hello\\n"\n'
    (finding,) = _without_note(archive, where="vendor-data")
    assert (finding.part, finding.line, finding.path) == ("vendor-data: entry 2", 3, "runcmd")


@pytest.mark.parametrize(
    ("text", "line"), [("hello", 1), ("#!/bin/sh\n\x00\n", 2), ("## template: jinja\n", 1), ("H4sIAAAA", 0)]
)
def test_what_is_refused_is_the_only_error(text: str, line: int) -> None:
    """User-data of which no disc is made is one finding, an error, with the reason that `apply` would give."""
    (finding,) = cloud_check.check(text)
    assert (finding.severity, finding.code, finding.line) == (Severity.ERROR, "refused", line)
    assert finding.mend


def test_without_a_schema_one_note_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A host without cloud-init still reads YAML, and says once that it could not do more."""
    monkeypatch.setattr(_cloud_schema, "_PLACES", (str(tmp_path), f"{tmp_path}/python3*/site-packages"))
    text = "#cloud-config-archive\n- 'runcmd: hello'\n- 'a: 1'\n- 'b: ['\n"
    assert [finding.code for finding in cloud_check.check(text)] == ["yaml", "unchecked"]
    assert cloud_check.check(text)[-1].severity is Severity.NOTE
    broken = tmp_path / "schema.json"
    broken.write_text("{")
    assert [finding.code for finding in cloud_check.check(f"{_HEAD}a: 1", schema_file=broken)] == ["unchecked"]
    place = tmp_path / "python3.99/site-packages" / _cloud_schema.NAME
    place.parent.mkdir(parents=True)
    place.write_text("{}")
    assert _cloud_schema.find() == place


def test_the_schema_of_a_newer_cloud_init_is_understood(tmp_path: Path) -> None:
    """cloud-init 25 shuts its top level, has a word more for what is retired, and gives advice in keys of its own."""
    newer = tmp_path / "schema.json"
    newer.write_text(json.dumps(_NEWER))
    text = "ssh_pwauth: 'yes'\nca-certs: {}\nrun_cmd: [a]\nx-base: 1\napt_mirror: http://x\nruncmd: [a]\n"
    found = cloud_check.check(_HEAD + text, schema_file=newer)
    assert [(finding.line, finding.path, finding.code, finding.mend) for finding in found] == [
        (2, "ssh_pwauth", "deprecated", "Use of non-boolean values is deprecated."),
        (3, "ca-certs", "deprecated", "Use ca_certs instead."),
        (4, "run_cmd", "unknown-key", "did you mean runcmd?"),
        (5, "x-base", "unread-key", ""),
        (0, "", "schema", "another is named by --schema"),
    ]


_NEWER = {
    "additionalProperties": False,
    "properties": {"ssh_pwauth": {}, "ca-certs": {}, "runcmd": {}},
    "allOf": [{"$ref": "#/$defs/cc_any"}],
    "$defs": {
        "cc_any": {
            "type": "object",
            "properties": {
                "ssh_pwauth": {
                    "oneOf": [
                        {"type": "boolean"},
                        {
                            "type": "string",
                            "changed": True,
                            "changed_version": "22.3",
                            "changed_description": "Use of non-boolean values is deprecated.",
                        },
                    ],
                    "description": "Whether passwords are taken.",
                },
                "ca-certs": {
                    "type": "object",
                    "deprecated": True,
                    "deprecated_version": "22.3",
                    "deprecated_description": "Use **ca_certs** instead.",
                    "description": "Certificates.",
                },
            },
        }
    },
}


@pytest.mark.parametrize("key", ["network", "datasource_list", "datasource"])
def test_what_is_read_before_user_data_is_told(key: str) -> None:
    """It would be passed over without a word."""
    assert _found(f"{_HEAD}{key}: {{version: 2}}\n") == [(2, key, "too-early")]


@pytest.mark.parametrize("key", ["rpi", "create_hostname_file", "ubuntu_pro", "x-mine"])
def test_a_newer_key_is_no_mistake(key: str) -> None:
    """The guest's cloud-init may be newer than this host's; what begins with x- holds anchors."""
    assert [one for one in cloud_check.check(f"{_HEAD}{key}: {{}}\n") if one.severity is not Severity.NOTE] == []


def test_whose_schema_it_was_is_said(tmp_path: Path) -> None:
    """Another cloud-init may take a form that this one does not know."""
    text = f"{_HEAD}users:\n- name: ops\n  sudo: ['ALL=(ALL) NOPASSWD:ALL']\n"
    *told, note = cloud_check.check(text)
    assert [(one.line, one.path, one.code) for one in told] == [(4, "users.0.sudo", "type")]
    assert (note.severity, note.code, "cloud-init 22" in note.message) == (Severity.NOTE, "schema", True)
    newer = tmp_path / "cloudinit" / "config" / "schemas" / "schema.json"
    newer.parent.mkdir(parents=True)
    newer.write_text(json.dumps(_NEWER))
    (tmp_path / "cloudinit" / "version.py").write_text('__VERSION__ = "99.1"\n')
    assert cloud_check.check(f"{_HEAD}runcmd: [a]\n", schema_file=newer) == []
    assert "cloud-init 99.1" in cloud_check.check(f"{_HEAD}run_cmd: [a]\n", schema_file=newer)[-1].message


@pytest.mark.parametrize("text", ["a: {{ b }}: c\n", "a: ${b}: {c\n", "{% if a %}\na: 1\n{% endif %}\n"])
def test_a_template_is_called_one(text: str) -> None:
    """What is no YAML yet will be."""
    told = [one.mend for one in cloud_check.check(_HEAD + text) if one.code == "yaml"]
    assert told in ([], ["this is a template: fill it in first"])
    assert told or "${" in text


def test_without_jsonschema_one_note_says_so() -> None:
    """jsonschema is for development: who has installed vmrole alone is told what is missing."""
    program = (
        "import sys; sys.modules['jsonschema'] = None\n"
        "from vmrole_unattend import cloud_check\n"
        "print([f.code for f in cloud_check.check('#cloud-config\\nruncmd: hello\\n')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "['unchecked']"


def test_no_value_is_ever_shown() -> None:
    """A finding may be logged, and a value may be a secret."""
    text = (
        "password: [hunter2]\nchpasswd: {expire: hunter2, list: 5}\nusers:\n- {name: x, uid: [hunter2]}\n"
        "ssh_keys: {rsa_private: [hunter2]}\nwrite_files: [hunter2]\nruncmd: {a: hunter2}\n"
    )
    found = cloud_check.check(_HEAD + text)
    assert len([finding for finding in found if finding.severity is Severity.WARNING]) >= 6
    for broken in (
        "a: 'hunter2\n",
        "a: *hunter2\n",
        "a: !hunter2 1\n",
        "hunter2: b: c\n",
        "@hunter2\n",
        "- hunter2\n",
    ):
        found += cloud_check.check(_HEAD + broken)
    assert "hunter2" not in repr(found)


_ODD = """
    y n yes No on Off TRUE ~ null Null 0 00 012 0o12 0x1F 0b11 1_000 -0 +1 1:30 1:90 190:20:30 08 0644 0x 1__0 0_7
    1.5 1. .5 1e3 1.e3 1.5e3 1.5e+3 685.230_15e+03 20:30.15 12e03 1.2.3 e3 .inf -.Inf
    2001-01-01 2001-1-1 2001-01-01x 'a'
"""


@pytest.mark.parametrize("word", _ODD.split())
def test_a_word_is_what_cloudinits_reader_takes_it_for(word: str) -> None:
    """Whether something is text, a number or a date is decided as PyYAML does, which cloud-init reads with."""
    text = f"a: {word}\n"
    assert repr(_cloud_yaml.read(text).value) == repr(yaml.safe_load(text))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None)
@given(_VALUES, st.sampled_from([None, True, False]))
def test_what_was_written_as_yaml_is_read_as_it_was(value: object, flow: bool | None) -> None:
    """Whatever PyYAML writes, in whatever style, is read back."""
    assert _cloud_yaml.read(yaml.safe_dump(value, default_flow_style=flow)).value == value


def test_a_bomb_is_told_and_not_built() -> None:
    """A few lines of aliases that stand for a billion entries end in a finding, at once."""
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    (finding,) = cloud_check.check(_HEAD + bomb)
    assert finding.code == "yaml"
    assert "aliases counted" in finding.message


@pytest.mark.parametrize(
    "entry", ["k{}: 1\n", "- a\n", "[], ", "- &a{} x\n"], ids=["keys", "list", "flow", "anchors"]
)
def test_a_megabyte_of_entries_is_refused_at_the_first_too_many(entry: str) -> None:
    """What comes behind them is not read, a fault neither; put together first, a megabyte took half a minute."""
    head = "[" if entry.startswith("[") else ""
    text = head + "".join(entry.format(number) for number in range(60_000)) + "\n}}: ]"
    with pytest.raises(_cloud_yaml.TooMuch, match="more than 50000 entries"):
        _cloud_yaml.read(text)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200) | st.text(alphabet="abc:-[]{}&*!|>#'\" \n\t0", max_size=120))
def test_no_text_is_too_strange_to_be_checked(text: str) -> None:
    """Any text ends in findings that can be printed."""
    for finding in cloud_check.check(_HEAD + text):
        assert finding.line >= 0
        assert f"{finding.path}{finding.message}{finding.mend}".isprintable()


# Debian's interpreter: cloud-init is a Debian package and is not in the virtual environment.
_VALIDATOR = """
import json, sys, yaml
from cloudinit.config import schema
known = schema.get_schema()
valid = []
for text in json.load(sys.stdin):
    try:
        schema.validate_cloudconfig_schema(yaml.safe_load(text), known, strict=True)
        valid.append([])
    except schema.SchemaValidationError as error:
        valid.append(sorted({problem.path for problem in error.schema_errors}))
print(json.dumps(valid))
"""
_SAMPLES = (
    "hostname: 5\nfqdn: [a]\n",
    "users: [default, {name: a, groups: {b: c}, lock_passwd: 5}]\n",
    "users: [{name: a, ssh_authorized_keys: x}]\n",
    "write_files: [{path: /x, encoding: rot13}, {path: /y, append: maybe}]\n",
    "write_files: [{path: /x, content: !!binary aGk=}]\n",
    "ntp: {enabled: 1, servers: [a], pools: b}\n",
    "power_state: {mode: poweroff, delay: +5, timeout: soon}\n",
    "apt: {sources: {x: {source: 1}}, primary: [{arches: [amd64]}]}\n",
    "disk_setup: {/dev/sdb: {table_type: gpt, layout: [50, [50, 82]], overwrite: 1}}\n",
    "mounts: [[a, b, c], [d, 5]]\nswap: {size: auto, maxsize: x}\n",
    "chpasswd: {expire: false, users: [{name: a, type: RANDOM}, {name: b, type: hash}]}\n",
    "ssh: {emit_keys_to_console: 5}\nssh_deletekeys: x\ndisable_root: false\n",
    "snap: {commands: {00: [a]}, assertions: 5}\nyum_repos: {x: {baseurl: http://x, enabled: 5}}\n",
    "growpart: {mode: auto, devices: /}\nresize_rootfs: noblock\nlocale: 5\ntimezone: yes\n",
    "phone_home: {url: http://x, post: [pub_key, x], tries: a}\nrsyslog: {configs: [a, {content: b}]}\n",
    "ca_certs: {remove_defaults: x, trusted: a}\nbootcmd: [[a, 5]]\nruncmd: [[a, b], c, null, 5]\n",
    "package_update: 1\npackages: [a, [b, 1.2], [c, d]]\npackage_upgrade: true\n",
    "keyboard: {layout: de, variant: 5}\nrandom_seed: {data: a, encoding: b64}\nfinal_message: []\n",
)


def test_cloudinits_own_validator_finds_the_same() -> None:
    """Where cloud-init says that something is wrong, we do, and nowhere else."""
    done = subprocess.run(
        ["/usr/bin/python3", "-c", _VALIDATOR],
        input=json.dumps(_SAMPLES),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    theirs = json.loads(done.stdout)
    apart = ("deprecated", "power-state", "unread-key")
    ours = [{_top(path) for _, path, code in _found(_HEAD + text) if code not in apart} for text in _SAMPLES]
    assert ours == [{_top(path) for path in paths} for paths in theirs]
    assert sum(map(len, ours)) > 20, "samples in which nothing is wrong prove nothing"


def _top(path: str) -> str:
    """The module's key: below it, cloud-init blames a whole entry where we blame one value of it."""
    return path.split(".")[0]
