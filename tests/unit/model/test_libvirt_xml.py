"""Extra libvirt XML: what is let through, and that nothing else is, however it is written."""

from __future__ import annotations

import re

import pytest

from orchestrator.errors import InvalidInput
from orchestrator.model.libvirt_xml import ALLOWED, Element, canonical

GOOD = """<domain>
  <features><pmu state='off'/><kvm><hidden state='on'/></kvm></features>
  <cpu><feature policy='disable' name='aes'/><feature policy='require' name='sse4.2'/></cpu>
  <clock><timer name='hpet' present='no'/></clock>
  <sysinfo type='smbios'><system><entry name='serial'>A-1 &lt;b&gt;</entry></system></sysinfo>
  <devices><watchdog model='i6300esb' action='reset'/><input type='tablet' bus='virtio'/>
  <sound model='ich9'/></devices>
</domain>
"""


def inside(path: str, element: str) -> str:
    """A document with the element at that place of <domain>."""
    steps = path.split("/") if path else []
    opened = "".join(f"<{step}>" for step in steps).replace("<sysinfo>", "<sysinfo type='smbios'>")
    return f"<domain>{opened}{element}{''.join(f'</{step}>' for step in reversed(steps))}</domain>"


def test_what_is_allowed_is_let_through() -> None:
    """On one line, the same however often it is read, and with its text."""
    once = canonical(GOOD)
    assert canonical(once) == once
    assert "\n" not in once
    assert '<feature name="aes" policy="disable" />' in once
    assert "A-1 &lt;b&gt;" in once


@pytest.mark.parametrize(
    "text", ["<feature name='f{:03}' policy='disable'/>", "<feature name='f{:03}' policy='disable' />"]
)
def test_what_is_let_through_is_let_through_as_it_is_kept(text: str) -> None:
    """At any length: what came in whole and could not be read again kept its VMs from starting, for good."""
    refused = set[bool]()
    for number in range(180, 230):
        many = "".join(text.format(each) for each in range(number))
        try:
            once = canonical(f"<domain><cpu>{many}</cpu></domain>")
        except InvalidInput:
            refused.add(True)
            continue
        refused.add(False)
        assert canonical(once) == once
    assert refused == {True, False}


# What would give a guest something of its host, or take from us what we decide.
HOSTILE = (
    ("", "<name>other</name>"),
    ("", "<uuid>8e1f9e4c-2f64-4e44-9d55-2f1d0a6b7c11</uuid>"),
    ("", "<metadata/>"),
    ("", "<memory unit='GiB'>64</memory>"),
    ("", "<vcpu>64</vcpu>"),
    ("", "<memoryBacking><source type='file'/></memoryBacking>"),
    ("", "<seclabel type='none'/>"),
    ("", "<on_crash>restart</on_crash>"),
    ("", "<on_poweroff>restart</on_poweroff>"),
    ("", "<os><kernel>/etc/shadow</kernel></os>"),
    ("", "<os><loader>/etc/shadow</loader></os>"),
    ("", "<launchSecurity type='sev'/>"),
    ("", "<cputune><shares>262144</shares></cputune>"),
    ("", "<resource><partition>/machine</partition></resource>"),
    ("", "<iothreads>64</iothreads>"),
    ("", "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:arg value='-S'/></q:commandline>"),
    ("", "<sysinfo type='fwcfg'><entry name='opt/a' file='/etc/shadow'/></sysinfo>"),
    ("sysinfo/system", "<entry name='uuid'>8e1f9e4c-2f64-4e44-9d55-2f1d0a6b7c11</entry>"),
    ("sysinfo/system", "<entry name='nonesuch'>a</entry>"),
    ("sysinfo/bios", "<entry name='date'>yesterday</entry>"),
    ("sysinfo/system", "<entry name='serial'>a,file=/etc/shadow</entry>"),
    ("sysinfo/system", "<entry name='serial' file='/etc/shadow'/>"),
    ("sysinfo", "<entry name='a' file='/etc/shadow'/>"),
    ("devices", "<emulator>/bin/sh</emulator>"),
    ("devices", "<disk type='file'><source file='/etc/shadow'/><target dev='vdz'/></disk>"),
    ("devices", "<disk type='block'><source dev='/dev/sda'/><target dev='vdz'/></disk>"),
    ("devices", "<filesystem type='mount'><source dir='/'/><target dir='x'/></filesystem>"),
    ("devices", "<hostdev mode='subsystem' type='pci'><source/></hostdev>"),
    ("devices", "<interface type='bridge'><source bridge='br0'/></interface>"),
    ("devices", "<interface type='user'/>"),
    ("devices", "<serial type='file'><source path='/etc/passwd'/></serial>"),
    ("devices", "<parallel type='dev'><source path='/dev/sda'/></parallel>"),
    ("devices", "<console type='pty'/>"),
    ("devices", "<channel type='unix'><source mode='connect' path='/run/libvirt/libvirt-sock'/></channel>"),
    ("devices", "<smartcard mode='host'/>"),
    ("devices", "<redirdev bus='usb' type='tcp'/>"),
    ("devices", "<graphics type='vnc' listen='0.0.0.0'/>"),
    ("devices", "<graphics type='spice'><gl rendernode='/dev/dri/renderD128'/></graphics>"),
    ("devices", "<video><model type='virtio'/><driver vgaconf='io'/></video>"),
    ("devices", "<audio id='1' type='file' path='/etc/cron.d/x'/>"),
    ("devices", "<rng model='virtio'><backend model='random'>/dev/sda</backend></rng>"),
    ("devices", "<tpm><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>"),
    ("devices", "<shmem name='x'/>"),
    ("devices", "<memory model='nvdimm'><source><path>/dev/sda</path></source></memory>"),
    ("devices", "<vsock model='virtio'/>"),
    ("devices", "<panic model='pvpanic'/>"),
    ("devices", "<controller type='usb' model='qemu-xhci'/>"),
    ("devices", "<input type='passthrough' bus='virtio'><source evdev='/dev/input/event0'/></input>"),
    ("devices", "<input type='evdev'><source dev='/dev/input/event0'/></input>"),
    ("devices", "<input type='tablet' bus='usb'/>"),
    ("devices", "<watchdog model='i6300esb' action='dump'/>"),
    ("devices", "<watchdog model='i6300esb' action='poweroff'/>"),
    ("devices", "<watchdog model='i6300esb' action='reset'><address type='pci'/></watchdog>"),
    ("devices", "<sound model='ich9'><audio id='1'/></sound>"),
    ("cpu", "<model>486</model>"),
    ("cpu", "<feature name='vmx' policy='force'/>"),
    ("cpu", "<feature name='aes,+vmx' policy='require'/>"),
    ("features", "<smm state='off'/>"),
    ("features", "<acpi/>"),
    ("features", "<hyperv mode='passthrough'/>"),
    ("clock", "<timer name='tsc' frequency='1'/>"),
)


@pytest.mark.parametrize(("path", "element"), HOSTILE)
def test_nothing_else_is(path: str, element: str) -> None:
    """The place is named, and what may be there."""
    with pytest.raises(InvalidInput) as refused:
        canonical(inside(path, element))
    assert "domain" in str(refused.value)
    assert refused.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "domain",
        "<domain>",
        "<domain/>",
        "<network/>",
        "<domain xmlns='http://example.com'><cpu/></domain>",
        "<domain type='kvm'><cpu/></domain>",
        "<domain>text<cpu/></domain>",
        "<domain><cpu/>text</domain>",
        "<!DOCTYPE domain [<!ENTITY e SYSTEM 'file:///etc/shadow'>]><domain><cpu>&e;</cpu></domain>",
        "<domain><!-- --><cpu/></domain>",
        "<?xml version='1.0'?><domain><cpu/></domain>",
        "<domain><cpu>&undefined;</cpu></domain>",
        "<domain><cpu/><cpu/></domain>",
        "<domain><devices>" + "<watchdog model='ib700' action='none'/>" * 2 + "</devices></domain>",
        "<domain><devices>" + "<sound model='ich9'/>" * 9 + "</devices></domain>",
        "<domain><features><pmu/></features></domain>",
        f"<domain><cpu/>{' ' * 9000}</domain>",
        "<domain><cpu/>\0</domain>",
        "<domain>" * 2000,
        "<domain><cpu\ud800/></domain>",
    ],
)
def test_what_is_no_such_document(text: str) -> None:
    """It is told, and brings nothing down."""
    with pytest.raises(InvalidInput) as refused:
        canonical(text)
    assert refused.value.hint


def test_no_value_can_be_another_option() -> None:
    """Nor of a text: none takes a comma, by which an option of QEMU's would begin, or a line's end."""

    def each(element: Element) -> list[str]:
        own = [*element.attributes.values(), *([element.text] if element.text else [])]
        return own + [pattern for below in element.within.values() for pattern in each(below)]

    for pattern in each(ALLOWED):
        assert not re.fullmatch(pattern, "a,file=/etc/shadow"), pattern
        assert not re.fullmatch(pattern, "a\nb"), pattern
