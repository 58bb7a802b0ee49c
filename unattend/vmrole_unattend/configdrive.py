"""The files of an OpenStack config drive, version 2, for Windows images that cloudbase-init sets up.

From the sources of cloudbase-init 1.1 (metadata/services/configdrive, plugins/common/userdata) and cloud-init 22.4
(sources/helpers/openstack): both take openstack/latest when there is no dated directory beside it, so that a password
stands on the disc once.

Ours is the first part of user-data, a PowerShell script (guest/setup.ps1). It does not ask cloudbase-init for the
setup restart (exit status 1001), although it could: the plugins that come after user-data, the one that sets the
administrator's password among them, would then run in the next boot, when the restart has been seen and the disc may
be gone. It leaves a task behind that waits until the service has ended, writes `setup-boot`, and restarts then. It
brings the client of the runtime channel as well, in the place where an answer file brings it.
"""

from __future__ import annotations

import base64
import dataclasses
import email.message
from collections.abc import Iterator, Mapping

from vmrole_unattend import _cloud_yaml, local_storage, multipart, network_config, nocloud
from vmrole_unattend.errors import AnswersInvalid
from vmrole_unattend.secret import Secret

LABEL = "config-2"  # cloudbase-init and cloud-init look for this volume label
INTERFACE = "Ethernet"  # what cloudbase-init renames the first interface to, and what Windows calls it anyway
COMPUTER_NAME_MAX = 15  # cloudbase-init cuts a longer one, and two instances could then have the same

_KEYS = frozenset(
    {"groups", "hostname", "ntp", "runcmd", "set_hostname", "set_timezone", "timezone", "users", "write_files"}
)
"""Keys of a cloud-config for which cloudbase-init 1.1 has a plugin."""

_KEYS_SAID = ", ".join(sorted(_KEYS))
_PLACE = "openstack/latest"
_SCRIPT_NAME = "vmrole-setup.ps1"

CLOUDBASE_INIT = multipart.Reader(
    name="cloudbase-init",
    # plugins/common/userdatautils; all but the first are run as scripts.
    words=(
        ("#cloud-config", "text/cloud-config"),
        ("#ps1_sysnative", multipart.SCRIPT),
        ("#ps1_x86", multipart.SCRIPT),
        ("#ps1", multipart.SCRIPT),
        ("rem cmd", multipart.SCRIPT),
        ("<powershell>", multipart.SCRIPT),
        ("<script>", multipart.SCRIPT),
    ),
    untyped=frozenset({multipart.SCRIPT}),
    endings=(".ps1", ".cmd", ".py", ".sh", ".exe"),
    deaf_to=frozenset(
        {
            "text/plain",
            "text/x-not-multipart",
            "text/cloud-boothook",
            "text/x-include-url",
            "text/x-include-once-url",
            "text/cloud-config-archive",
            "text/cloud-config-jsonp",
        }
    ),
    first_lines="begin with #cloud-config, #ps1_sysnative, #ps1_x86, rem cmd, <powershell> or <script>, or be MIME",
)


def files(answers: nocloud.Answers, *, admin_password: Secret | None = None) -> Mapping[str, bytes]:
    """The disc's files by name; equal answers give equal bytes.

    With `admin_password`, cloudbase-init gives it to the user that its image is configured for; without, it makes one
    up that nobody learns. Vendor-data is for cloud-init: cloudbase-init reads none; nor does it know of local
    storage, which a script of ours gives its place. AnswersInvalid for what cloudbase-init could not honour.
    """
    check_hostname(answers.hostname)
    made = {
        f"{_PLACE}/meta_data.json": nocloud.to_json(_meta_data(answers, admin_password)),
        f"{_PLACE}/network_data.json": nocloud.to_json(network_config.network_data(answers.network, INTERFACE)),
        f"{_PLACE}/user_data": multipart.join([_setup(answers), *_storage(answers), *_user_parts(answers.user_data)]),
    }
    if multipart.user_parts(answers.vendor_data, where="vendor-data"):
        made[f"{_PLACE}/vendor_data.json"] = nocloud.to_json({"cloud-init": answers.vendor_data})
    return made


def check_hostname(hostname: str) -> None:
    """Raises AnswersInvalid where `files` would for a name that Windows cannot have."""
    if len(hostname) > COMPUTER_NAME_MAX or hostname.isdigit():
        raise AnswersInvalid(
            f"{hostname!r} cannot be the name of a Windows computer",
            where="hostname",
            hint=f"use at most {COMPUTER_NAME_MAX} characters, not digits alone: a shorter name for the role",
        )


def check_user_data(user_data: str) -> None:
    """Raises AnswersInvalid where `files` would, long before there is an instance."""
    for _ in _user_parts(user_data):
        pass


def _check_cloud_config(text: str) -> None:
    """Raises AnswersInvalid for what cloudbase-init would pass over without a word."""
    where = "user-data"
    try:
        document = _cloud_yaml.read(text)
    except _cloud_yaml.Broken as error:
        raise AnswersInvalid(
            f"is no YAML, so cloudbase-init would pass over it: {error.problem}", where=f"{where}: line {error.line}"
        ) from error
    if not isinstance(document.value, dict | None):
        raise AnswersInvalid("is no mapping of keys", where=f"{where}: line 1", hint=f"it may have {_KEYS_SAID}")
    for key in document.value or ():
        if key not in _KEYS:
            raise AnswersInvalid(
                f"cloudbase-init has nothing that reads {str(key)[:60]!r}, and would pass over it",
                where=f"{where}: line {document.line((key,))}",
                hint=f"it reads {_KEYS_SAID}; a script, #ps1_sysnative, can do the rest",
            )


def _meta_data(answers: nocloud.Answers, admin_password: Secret | None) -> dict[str, object]:
    made: dict[str, object] = {
        "uuid": answers.instance_id,
        "name": answers.hostname,
        "hostname": answers.hostname,
        # nova's own rule: what the user says about a server is text.
        "meta": {
            "vmrole-service": answers.service,
            "vmrole-instance": answers.instance,
            "vmrole-generation": str(answers.generation),
        },
        "public_keys": {f"key-{number}": key for number, key in enumerate(answers.public_keys)},
    }
    if admin_password is not None:
        if not admin_password.reveal():
            raise AnswersInvalid("is empty", where="admin_password", hint="leave it out, or give one")
        made["admin_pass"] = admin_password.reveal()
    return made


def _setup(answers: nocloud.Answers) -> multipart.Part:
    assigned = (
        "#ps1_sysnative\n"
        "param([switch]$End)\n"
        f"$instance_id = '{answers.instance_id}'\n"
        f"$instance = '{answers.instance}'\n"
        f"$generation = '{answers.generation}'\n"
        f"$restart = ${'true' if answers.setup_restart else 'false'}\n"
        f"$client = '{base64.b64encode(nocloud.guest_script('vmrole-guest.ps1').encode()).decode()}'\n"
    )
    return multipart.part(multipart.SCRIPT, assigned + nocloud.guest_script("setup.ps1"), _SCRIPT_NAME)


def _storage(answers: nocloud.Answers) -> Iterator[multipart.Part]:
    if answers.local_storage:
        script = local_storage.script(answers.local_storage, answers.blank_storage)
        yield multipart.part(multipart.SCRIPT, f"#ps1_sysnative\n{script}", "vmrole-local-storage.ps1")


def _user_parts(user_data: str) -> Iterator[multipart.Part]:
    """The user's parts, each script with a file name: cloudbase-init writes it there, and fails where there is none.

    A name without an ending leaves it to the first line what runs the script.
    """
    for number, part in enumerate(multipart.user_parts(user_data, reader=CLOUDBASE_INIT), start=1):
        message = email.message.Message()
        for name, value in part.headers:
            message[name] = value
        if message.get_content_type() == "text/cloud-config":
            _check_cloud_config(multipart.text_of(part))
        if message.get_content_type() == "text/cloud-config" or message.get_filename():
            yield part
        else:
            named = ("Content-Disposition", f'attachment; filename="user-part-{number}"')
            kept = tuple(header for header in part.headers if header[0].lower() != "content-disposition")
            yield dataclasses.replace(part, headers=(*kept, named))
