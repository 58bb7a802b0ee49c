"""Answers for a cloud-init, and the parts of the user-data that are made of them."""

from __future__ import annotations

import email

from vmrole_unattend import nocloud

ANSWERS = nocloud.Answers(
    instance_id="7c4d9c1e",
    hostname="db-0",
    service="shop",
    instance="db-0.shop",
    generation=1,
    mac="52:54:00:12:34:56",
    local_storage=("data", "log"),
)


def parts(answers: nocloud.Answers) -> dict[str, tuple[str, str]]:
    """Those of the user-data by name: type and text."""
    message = email.message_from_bytes(nocloud.files(answers)["user-data"])
    return {
        str(part.get_filename()): (part.get_content_type(), part.get_payload(decode=True).decode())  # type: ignore[union-attr]
        for part in message.walk()
        if not part.is_multipart()
    }
