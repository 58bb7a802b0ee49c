"""Addresses that instances have by DHCP on bridges of the host's: followed, or refused, and told."""

from __future__ import annotations

import logging
from dataclasses import replace

from orchestrator.control import records
from orchestrator.control.present import Present
from orchestrator.model import Event, Instance, Service
from orchestrator.ports import Host
from orchestrator.rules import bridging

log = logging.getLogger(__name__)


def follow(present: Present, host: Host, instance: Instance) -> Instance:
    """The record with what a DHCP server has said of its address since, saved. Others are looked at only then."""
    if instance.lan is None or not instance.lan.by_dhcp or not instance.phase.traits.has_vm:
        return instance
    given = host.machine.network.given()
    if bridging.is_lost(instance, given, lambda: present.all(Instance)):
        told = f"a DHCP server of {instance.lan.bridge} has given {instance.lan_given} to another: it has none there"
        return _save(present, host, instance, replace(instance, lan_given=""), told)
    heard = bridging.heard(instance, given)
    if heard is None:
        return instance
    specs = [service.spec for service in present.all(Service)]
    why = host.machine.network.keeps(heard.address)
    why = f"it is {why}" if why else bridging.given_fault(instance, heard, specs, present.all(Instance))
    if why:
        refused = f"a DHCP server of {instance.lan.bridge} has given it {heard.address}, which it may not use: {why}"
        after = replace(instance, lan_given="", lan_given_at_s=heard.at_s, lan_refused=refused)
        return _save(present, host, instance, after, "" if refused == instance.lan_refused else refused)
    after = replace(instance, lan_given=heard.address, lan_given_at_s=heard.at_s, lan_refused="")
    news = f"it is {heard.address} on bridge {instance.lan.bridge}, by DHCP"
    return _save(present, host, instance, after, "" if heard.address == instance.lan_given else news)


def _save(present: Present, host: Host, before: Instance, after: Instance, told: str) -> Instance:
    event = Event(
        at_s=host.machine.clock.now_s(),
        subject=before.name,
        message=told,
        phase=before.phase,
        generation=before.generation,
        boot=before.boot,
    )
    if told:
        log.info("%s", told)
    revision = present.commit([records.put_state(after)], [event] if told else [])
    return replace(after, state_revision=revision)
