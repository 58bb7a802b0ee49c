"""Answers as cloudbase-init gets them, taken apart."""

from __future__ import annotations

import email

from vmrole_unattend import configdrive, nocloud


def parts_of(answers: nocloud.Answers) -> list[tuple[str, str | None, str]]:
    """Type, file name and text of each part of user_data."""
    message = email.message_from_bytes(configdrive.files(answers)["openstack/latest/user_data"])
    return [
        (part.get_content_type(), part.get_filename(), part.get_payload(decode=True).decode())  # type: ignore[union-attr]
        for part in message.walk()
        if not part.is_multipart()
    ]
