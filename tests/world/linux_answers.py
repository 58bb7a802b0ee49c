"""What an instance with Linux is told about itself, as tests give it to whoever writes discs."""

from __future__ import annotations

from vmrole_unattend import nocloud

ANSWERS = nocloud.Answers(
    instance_id="7b0f3f0e-0000-4000-8000-000000000001",
    hostname="web-0",
    service="shop",
    instance="web-0.shop",
    generation=3,
    mac="52:54:00:12:34:56",
)
