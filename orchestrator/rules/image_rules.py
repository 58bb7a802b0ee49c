"""The rules of the image repository: a name means one image, the same bytes have one use, a used image stays.

All is pure: images, services and instances in, a decision or the refusal out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import replace

from orchestrator.errors import Conflict, NotFound
from orchestrator.model import Hardware, Image, Instance, Revision, Service
from orchestrator.model.intake import Intake

DIGEST_PREFIX_LEAST = 12


def find(images: Sequence[Image], reference: str) -> Image | None:
    """The image called `reference`: a name, NAME@sha256:DIGEST, a digest, or its first 12 digits or more.

    A name goes before digits, since a name may look like them; digits that fit two images mean none.
    """
    name, at, digest = reference.partition("@sha256:")
    for image in images:
        if name in image.names and (not at or image.sha256 == digest):
            return image
    if len(reference) < DIGEST_PREFIX_LEAST:
        return None
    fitting = [image for image in images if image.sha256.startswith(reference)]
    return fitting[0] if len(fitting) == 1 else None


def get(images: Sequence[Image], reference: str) -> Image:
    """As `find`; raises NotFound."""
    image = find(images, reference)
    if image is None:
        raise NotFound(f"there is no image {reference[:80]!r}", hint="run: vmrole image ls")
    return image


def refuse_taken_name(images: Iterable[Image], intake: Intake) -> None:
    """Raises Conflict before a byte is read: the name means other bytes, by the digest that was given."""
    holder = _holder(images, intake.name)
    if holder is None or intake.sha256 is None:
        return
    known = holder.source_sha256 if intake.convert else holder.sha256
    if known and known != intake.sha256:
        raise _name_taken(intake.name, holder)


def capture(images: Sequence[Image], instance: Instance, name: str) -> Intake:
    """What is said of an image that is made of an instance's disk: the same machine, by another name.

    Raises Conflict when the name means an image already.
    """
    holder = _holder(images, name)
    if holder is not None:
        raise _name_taken(name, holder)
    role = instance.role
    below = next((image for image in images if image.sha256 == role.image_sha256), None)
    answers = role.answers if below is None else below.answers  # a role may give none to an image that reads them
    return Intake(name=name, os=role.os, answers=answers, hardware=role.hardware)


def refuse_running(asked: Instance, present: Instance | None) -> None:
    """Raises Conflict unless the instance is off, as it was when its disk was asked for, and has not run since."""
    if present is None or present.uid != asked.uid:
        raise Conflict(f"{asked.name} is not there any more", hint="run: vmrole get instances")
    if not present.is_off:
        raise Conflict(f"{asked.name} is {present.phase}: its disk changes", hint=f"run: vmrole stop {asked.name}")
    if present.at != asked.at:
        raise Conflict(f"{asked.name} has run meanwhile: its disk is another", hint="capture it again")


def taken_in(images: Sequence[Image], fresh: Image, intake: Intake) -> Image:
    """What is to be recorded of bytes that have arrived: `fresh`, or the image that they are, with one name more.

    Raises Conflict when the name means other bytes, or these bytes are known for another use.
    """
    old = next((image for image in images if image.sha256 == fresh.sha256), None)
    if old is not None:
        _refuse_other_use(old, intake)
        if intake.name in old.names:
            return old
    holder = _holder(images, intake.name)
    if holder is not None:
        raise _name_taken(intake.name, holder)
    return fresh if old is None else replace(old, names=(*old.names, intake.name))


def moved(images: Sequence[Image], name: str, reference: str) -> tuple[Image, ...]:
    """The images that change when a name is given to the one called `reference`, and taken from the one it meant.

    The other gets a spare name when that was its last. Raises NotFound.
    """
    image, holder = get(images, reference), _holder(images, name)
    if name in image.names:
        return ()
    gains = replace(image, names=(*image.names, name))
    if holder is None:
        return (gains,)
    left = tuple(one for one in holder.names if one != name)
    return gains, replace(holder, names=left or (spare_name(holder),))


def spare_name(image: Image) -> str:
    """What an image is called whose last name went to another."""
    return f"was-{image.sha256[:DIGEST_PREFIX_LEAST]}"


def without(image: Image, reference: str) -> Image | None:
    """The image without the name by which it was called; None when it goes with its last name, or by its digest."""
    name = reference.partition("@")[0]
    left = tuple(one for one in image.names if one != name) if name in image.names else ()
    return replace(image, names=left) if left else None


def users(image: Image, services: Iterable[Service], instances: Iterable[Instance]) -> list[str]:
    """Names of the services that refer to it, also through an instance that has yet to leave it."""
    used = {one.service for one in instances if image.sha256 in (one.role.image_sha256, one.goal.role.image_sha256)}
    used |= {
        service.name for service in services if any(role.image_sha256 == image.sha256 for role in service.spec.roles)
    }
    return sorted(used)


def refuse_used(image: Image, used_by: Sequence[str]) -> None:
    """Raises Conflict while a service refers to it."""
    if used_by:
        raise Conflict(
            f"image {image.names[0]} is used by service {', '.join(used_by)}",
            hint="delete the service first, or change its image",
        )


def unused(
    images: Iterable[Image],
    services: Sequence[Service],
    instances: Sequence[Instance],
    kept: Iterable[Revision] = (),
    *,
    added_before_s: float,
) -> list[Image]:
    """Those that no service refers to, and that were there before a moment: one just added may be meant for later.

    A service refers to an image by each of its files that are `kept`, too: an undo goes back to one of them.
    """
    ways_back = {role.image_sha256 for revision in kept for role in revision.spec.roles}
    return [
        image
        for image in images
        if image.added_at_s <= added_before_s
        and image.sha256 not in ways_back
        and not users(image, services, instances)
    ]


def _holder(images: Iterable[Image], name: str) -> Image | None:
    return next((image for image in images if name in image.names), None)


def _refuse_other_use(old: Image, intake: Intake) -> None:
    """The same bytes are one image, so that they cannot be two kinds of machine."""
    pairs = [("os", old.os, intake.os), ("answers", old.answers, intake.answer_format)]
    for field in dataclasses.fields(Hardware):
        pairs.append((field.name, getattr(old.hardware, field.name), getattr(intake.hardware, field.name)))
    differ = [f"{key} {was} (now {now})" for key, was, now in pairs if was != now]
    if differ:
        names = " ".join(old.names)
        raise Conflict(
            f"the same bytes are image {old.names[0]} already, with {', '.join(differ)}",
            hint=f"add them as they are known, or first: vmrole image rm {names}",
        )


def _name_taken(name: str, holder: Image) -> Conflict:
    return Conflict(
        f"image name {name!r} means {holder.sha256[:12]} already",
        hint=f"use another name and move this one later: vmrole image tag {name} IMAGE; or: vmrole image rm {name}",
    )
