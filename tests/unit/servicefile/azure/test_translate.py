"""Service definitions and configurations become service files, and nothing of them is lost in silence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree
from vmrole_unattend.secret import SecretRef, SecretSource
from vmrole_unattend.windows.answers import Windows

from orchestrator.errors import InvalidInput
from orchestrator.model import (
    AnswerFormat,
    Carrier,
    HttpProbe,
    InstanceEndpoint,
    InternalEndpoint,
    Mode,
    Ports,
    Size,
    TcpProbe,
    Topology,
    Upgrade,
)
from orchestrator.servicefile.azure.definition import Element, Schema
from orchestrator.servicefile.azure.sizes import SIZES
from orchestrator.servicefile.azure.translate import Imported, translate
from tests.world.azure_files import (
    CSCFG,
    CSDEF,
    SMALL_CSCFG,
    SMALL_CSDEF,
    WISHES,
    configuration,
    definition,
    imported,
    parsed,
)


def test_the_sample_becomes_a_service() -> None:
    """Names, image, instances, size, endpoints, probes, storage and answers are those of the two files."""
    spec = parsed(imported(CSDEF, CSCFG).text)
    front, ledger = spec.roles
    assert (spec.name, spec.vip) == ("orderservice", "203.0.113.20")
    assert (front.name, front.image, front.instances) == ("frontend", "front_end-v3", 3)
    assert front.size == Size(vcpus=2, memory_mib=3584)
    http, https, voice = front.endpoints
    assert (http.name, http.port, http.target, http.mode) == ("http", 80, 8080, Mode.HTTP)
    assert http.probe == HttpProbe(path="/health/live.aspx", port=8081, interval_s=15.0, fall=2)
    assert (https.port, https.target, https.mode, https.probe) == (443, 443, Mode.TCP, TcpProbe())
    assert (voice.port, voice.target, voice.mode, voice.carrier) == (5060, 5060, Mode.UDP, Carrier.NFTABLES)
    assert front.instance_endpoints == (InstanceEndpoint(name="debug", ports=Ports(10110, 10120), target=4022),)
    cache = InternalEndpoint(name="cache", ports=Ports(11211, 11219), mode=Mode.TCP, callers=("generalledgerkeeper",))
    assert front.internal_endpoints == (cache,)
    assert ledger.internal_endpoints == (InternalEndpoint(name="books"),)
    assert [(one.name, one.size_mib) for one in front.local_storage] == [
        ("uploads", 2048),
        ("temp-files", 100),
        ("scratch", 100),
    ]
    assert (ledger.name, ledger.instances, ledger.size) == ("generalledgerkeeper", 1, SIZES["ExtraSmall"])
    assert ledger.unattend is not None
    assert ledger.unattend.windows is Windows.W2008R2
    assert ledger.unattend.computer_name == "generalledg2-{index}"
    assert ledger.unattend.administrator_password == SecretRef(
        source=SecretSource.CREDENTIAL, name="administrator-password"
    )


_DEBUG = (
    '<InstanceInputEndpoint name="d" protocol="{protocol}" localPort="1"><AllocatePublicPortFrom>'
    '<FixedPortRange min="{first}" max="{last}"/></AllocatePublicPortFrom></InstanceInputEndpoint>'
)
TIERS = f"""<ServiceDefinition name="shop" xmlns="{Schema.DEFINITION.namespace}">
  <VirtualMachineRole name="web"/>
  <VirtualMachineRole name="Job"/>
  <VirtualMachineRole name="db">
    <Endpoints>
      <InternalEndpoint name="Sql" protocol="tcp"><FixedPort port="1433"/></InternalEndpoint>
      <InternalEndpoint name="names" protocol="any" port="53"/>
    </Endpoints>
  </VirtualMachineRole>
  <NetworkTrafficRules>RULES</NetworkTrafficRules>
</ServiceDefinition>"""
TIERS_CSCFG = f"""<ServiceConfiguration serviceName="shop" xmlns="{Schema.CONFIGURATION.namespace}">
  {"".join(f'<Role name="{name}"><Instances count="1"/><OsImage href="a"/></Role>' for name in ("web", "Job", "db"))}
</ServiceConfiguration>"""


def _rule(*callers: str, ends: Sequence[str] = ("Sql",), more: str = "") -> str:
    """One rule of roles that reach endpoints of the db."""
    to = "".join(f'<RoleEndpoint endpointName="{end}" roleName="db"/>' for end in ends)
    of = "".join(f'<FromRole roleName="{caller}"/>' for caller in callers)
    when = f'<WhenSource matches="AnyRule">{of}</WhenSource>' if callers else ""
    return f"<OnlyAllowTrafficTo><Destinations>{to}</Destinations>{more}{when}</OnlyAllowTrafficTo>"


@pytest.mark.parametrize(
    ("rules", "sql", "names"),
    [
        ("", (), ()),
        (_rule("web"), ("web",), ()),
        (_rule("web", ends=["Sql", "names"]) + _rule("Job"), ("web", "job"), ("web",)),
        (_rule("web") + _rule(more="<AllowAllTraffic/>"), (), ()),
        (_rule("db", "Job"), ("db", "job"), ()),
    ],
)
def test_rules_say_who_reaches_an_internal_endpoint(rules: str, sql: tuple[str, ...], names: tuple[str, ...]) -> None:
    """All roles where none is named; of several rules each adds; and a service of none but these needs no address."""
    text = imported(TIERS.replace("RULES", rules), TIERS_CSCFG, dataclasses.replace(WISHES, vip="")).text
    *_, db = parsed(text).roles
    assert db.internal_endpoints == (
        InternalEndpoint(name="sql", ports=Ports(1433, 1433), mode=Mode.TCP, callers=sql),
        InternalEndpoint(name="names", ports=Ports(53, 53), callers=names),
    )


@pytest.mark.parametrize(
    ("rules", "word", "hint"),
    [
        (_rule("Web"), "no VirtualMachineRole 'Web'", "web, Job, db"),
        (_rule("web", ends=["Tds"]), "no InternalEndpoint 'Tds'", "Sql of db, names of db"),
        (_rule(), "names nobody", "AllowAllTraffic"),
        (_rule("web").replace("AnyRule", "All"), "'All' is not known", "AnyRule"),
    ],
)
def test_a_rule_that_means_nothing_is_a_fault(rules: str, word: str, hint: str) -> None:
    """A rule that was dropped would leave something open."""
    with pytest.raises(InvalidInput) as refused:
        imported(TIERS.replace("RULES", rules), TIERS_CSCFG)
    (problem,) = refused.value.problems
    assert word in problem.message
    assert problem.message.startswith("shop.csdef:")
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("end", "word"),
    [
        ('<InstanceInputEndpoint name="d" protocol="tcp" localPort="1"/>', "says no ports"),
        (_DEBUG.format(protocol="tcp", first=10, last=10), "has ports for 1 of 2 instances"),
        (_DEBUG.format(protocol="tcp", first=79, last=81), "port 80 is taken by line 4"),
        (_DEBUG.format(protocol="tcp", first=1000, last=2000), "has 1001 ports"),
        (_DEBUG.format(protocol="tcp", first=30, last=20), "holds no port"),
        (_DEBUG.format(protocol="http", first=20, last=30), "protocol 'http'"),
        ('<InternalEndpoint name="http" protocol="tcp" port="1"/>', "both 'http' here"),
        ('<InternalEndpoint name="d" protocol="icmp" port="1"/>', "protocol 'icmp'"),
        ('<InternalEndpoint name="d" protocol="tcp" port="0"/>', "not a port"),
    ],
)
def test_an_endpoint_that_cannot_be_is_a_fault(end: str, word: str) -> None:
    """With its line, and no service file."""
    with pytest.raises(InvalidInput, match=word) as refused:
        imported(SMALL_CSDEF.replace("    </Endpoints>", f"      {end}\n    </Endpoints>"))
    assert all(one.message.startswith("shop.csdef:5: ") and one.hint for one in refused.value.problems)


@pytest.mark.parametrize(
    ("times", "interval_s", "fall"),
    [
        ('intervalInSeconds="5" timeoutInSeconds="11"', 5.0, 2),
        ('intervalInSeconds="10"', 10.0, 3),
        ('timeoutInSeconds="60"', 15.0, 4),
        ('intervalInSeconds="60" timeoutInSeconds="11"', 60.0, 1),
        ('intervalInSeconds="5" timeoutInSeconds="3600"', 5.0, 100),
        ("", None, None),
    ],
)
def test_a_probe_asks_as_often_and_falls_as_late(times: str, interval_s: float | None, fall: int | None) -> None:
    """As Azure's did, whose defaults stand for the one that is not said; where neither is, ours are meant."""
    text = imported(CSDEF.replace('intervalInSeconds="15" timeoutInSeconds="31"', times), CSCFG).text
    probe = parsed(text).roles[0].endpoints[0].probe
    assert isinstance(probe, HttpProbe)
    assert (probe.interval_s, probe.fall) == (interval_s, fall)


@pytest.mark.parametrize("times", ['intervalInSeconds="4"', 'timeoutInSeconds="10"', 'intervalInSeconds="soon"'])
def test_a_time_that_azure_refused_is_a_fault(times: str) -> None:
    """With its attribute, and what may stand there."""
    with pytest.raises(InvalidInput, match=r"which is no time of a probe") as refused:
        imported(CSDEF.replace('intervalInSeconds="15" timeoutInSeconds="31"', times), CSCFG)
    (problem,) = refused.value.problems
    assert times.split("=")[0] in problem.message
    assert problem.hint.startswith("whole seconds, ")


def test_every_part_is_translated_or_listed() -> None:
    """Each element and attribute of both files is in exactly one of the two accounts."""
    csdef, cscfg = definition(CSDEF), configuration(CSCFG)
    done = translate(csdef, cscfg, WISHES)
    parts = {(one, name) for root in (csdef, cscfg) for one in root.walk() for name in ("", *dict(one.attributes))}
    assert done.translated | done.listed == parts
    assert done.translated & done.listed == set()


def test_what_is_listed_is_named_with_its_place() -> None:
    """Every listed element or attribute stands by its name in a note that begins at or above its line."""
    done = imported(CSDEF, CSCFG)
    for element, attribute in done.listed:
        word = (element.get("name") or "") if attribute == "name" else attribute or element.name
        holders = [note for note in done.notes if note.dropped and word in note.what]
        assert any(note.place.startswith(f"{element.file}:") for note in holders), (element.place, word)


def test_what_is_called_translated_changes_the_service_file() -> None:
    """Another value of a translated attribute makes another file or a fault, or it is one that changes nothing."""
    silent = {("InputEndpoint", "ignoreRoleInstanceStatus"), ("LocalStorage", "cleanOnRoleRecycle")}
    csdef, cscfg = definition(CSDEF), configuration(CSCFG)
    done = translate(csdef, cscfg, WISHES)
    for element, attribute in done.translated:
        if not attribute or (element.name, attribute) in silent:
            continue
        other = [_with(root, element, attribute) for root in (csdef, cscfg)]
        try:
            again = translate(other[0], other[1], WISHES)
        except InvalidInput:
            continue
        assert _body(again.text) != _body(done.text), (element.place, attribute)


def _with(root: Element, element: Element, attribute: str) -> Element:
    """The tree with another value of one attribute."""
    attributes = tuple(
        (name, "417" if root is element and name == attribute else value) for name, value in root.attributes
    )
    children = tuple(_with(child, element, attribute) for child in root.children)
    return dataclasses.replace(root, attributes=attributes, children=children)


def _body(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


_NAMES = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_.-]{0,12}\Z")


@settings(deadline=None)
@given(st.data())
@pytest.mark.slow
def test_an_unknown_part_anywhere_is_listed(data: st.DataObject) -> None:
    """An element or attribute that no schema has is named in the notes, wherever it stands."""
    in_csdef = data.draw(st.booleans())
    tree = etree.fromstring((CSDEF if in_csdef else CSCFG).encode())
    host = data.draw(st.sampled_from([one for one in tree.iter() if isinstance(one.tag, str)]))
    name = "Zz" + data.draw(_NAMES)
    if data.draw(st.booleans()):
        host.set(name, "value-canary")
    else:
        namespace = (Schema.DEFINITION if in_csdef else Schema.CONFIGURATION).namespace
        etree.SubElement(host, f"{{{namespace}}}{name}", secret="value-canary")
    changed = etree.tostring(tree, encoding="unicode")
    done = imported(changed if in_csdef else CSDEF, CSCFG if in_csdef else changed)
    assert any(name in note.what for note in done.notes if note.dropped)
    assert "value-canary" not in done.text
    assert parsed(done.text).name == "orderservice"


@settings(deadline=None)
@given(st.text(min_size=1, max_size=30), st.text(max_size=60), st.text(max_size=60))
@example("NUL", "0", "")
@example("com1", "0", "")
def test_any_name_gives_a_file_that_can_be_read(name: str, path: str, setting: str) -> None:
    """Whatever the names hold, the file is refused with its place or reads back as one service, never as more."""
    csdef, cscfg = etree.fromstring(SMALL_CSDEF.encode()), etree.fromstring(SMALL_CSCFG.encode())
    try:
        for one in (*csdef.iter("{*}VirtualMachineRole"), *cscfg.iter("{*}Role"), *csdef.iter("{*}LocalStorage")):
            one.set("name", name)
        next(cscfg.iter("{*}OsImage")).set("href", path)
        next(cscfg.iter("{*}Instances")).set("note", setting)
    except ValueError:  # not a text that XML can hold
        return
    done = _imported_or_placed(etree.tostring(csdef, encoding="unicode"), etree.tostring(cscfg, encoding="unicode"))
    for role in parsed(done.text).roles if done else ():
        assert role.instances == 2


def _imported_or_placed(csdef: str, cscfg: str) -> Imported | None:
    """The import, or None when it was refused with the place of each fault."""
    try:
        return imported(csdef, cscfg)
    except InvalidInput as refused:
        told = [one.message for one in refused.problems]
    assert all(one.startswith("shop.cs") for one in told), told
    return None


def test_numbers_and_words_stay_names() -> None:
    """A role that is called as YAML writes a number, a truth value or nothing keeps its name."""
    for name in ("1e3", "0x1f", "0o7", "12", "true", "no", "null", "1.5e3", "2011-03-08"):
        done = imported(SMALL_CSDEF.replace('"web"', f'"{name}"'), SMALL_CSCFG.replace('"web"', f'"{name}"'))
        assert parsed(done.text).roles[0].name == name.replace(".", "-")


def test_values_of_settings_are_not_shown() -> None:
    """A connection string with its key, or any other value of a setting, is in neither file nor notes."""
    done = imported(CSDEF, CSCFG)
    told = done.text + "".join(map(str, done.notes))
    assert "StorageConnection" in told
    assert "AccountKey" not in told
    assert "canary" not in told
    assert "0123456789ABCDEF0123456789ABCDEF01234567" in told


def test_images_can_be_named() -> None:
    """--image takes the place of all VHDs, --role-image of one; that the VHD is left out is said."""
    wishes = dataclasses.replace(WISHES, image="micro", role_images={"FrontEnd": "front"}, windows=None)
    done = imported(CSDEF, CSCFG, wishes)
    assert [one.image for one in parsed(done.text, AnswerFormat.NOCLOUD).roles] == ["front", "micro"]
    assert sum("OsImage" in note.what and note.dropped for note in done.notes) == 2


def test_upgrade_domains_are_upgrade_domains() -> None:
    """Each as a whole, as Azure took them: of three instances in two domains two go at a time."""
    done = imported(CSDEF, CSCFG)
    assert not [one for one in done.notes if "upgradeDomainCount" in one.what]
    assert parsed(done.text).upgrade == Upgrade(domains=2, max_unavailable=2)


@pytest.mark.parametrize(
    ("said", "topology", "told"),
    [
        ("Blast", Topology.BLAST, "learn of changes at once"),
        ("UpgradeDomainWalk", Topology.WALK, "learn of changes one after the other"),
        ("Walk", Topology.BLAST, "it is not Blast or UpgradeDomainWalk"),
    ],
)
def test_guests_learn_of_peers_as_there(said: str, topology: Topology, told: str) -> None:
    """`topologyChangeDiscovery`, of all roles; what it cannot be is listed, and that guests have to ask is told."""
    assert 'topologyChangeDiscovery="Blast"' in CSDEF
    done = imported(CSDEF.replace('topologyChangeDiscovery="Blast"', f'topologyChangeDiscovery="{said}"'), CSCFG)
    assert {one.topology for one in parsed(done.text).roles} == {topology}
    notes = [str(one) for one in done.notes if "topologyChangeDiscovery" in one.what]
    assert len(notes) == 1
    assert told in notes[0]


_Change = Callable[[str], str]


def _swap(old: str, new: str) -> _Change:
    return lambda text: text.replace(old, new)


@pytest.mark.parametrize(
    ("change", "place", "message"),
    [
        (_swap('count="2"', 'count="0"'), "shop.cscfg:3", "is not a number of instances"),
        (_swap('count="2"', 'count="two"'), "shop.cscfg:3", "is not a number of instances"),
        (_swap('count="2"', 'count="\u0661"'), "shop.cscfg:3", "is not a number of instances"),
        (_swap('count="2"', 'count="101"'), "shop.cscfg:3", "is not a number of instances"),
        (_swap('<Instances count="2" />', ""), "shop.cscfg:2", "is not a number of instances"),
        (_swap('<Role name="web"', '<Role name="wev"'), "shop.csdef:2", "is not in shop.cscfg"),
        (_swap('Role name="web"', 'Role vmName="web"'), "shop.csdef:2", "has no name"),
        (
            _swap('VirtualMachineRole name="web"', 'VirtualMachineRole name="w"'),
            "shop.cscfg:2",
            "is not in shop.csdef",
        ),
        (_swap('serviceName="shop"', 'serviceName="other"'), "shop.cscfg:1", "is of 'shop'"),
        (_swap('vmsize="Small"', 'vmsize="Huge"'), "shop.csdef:2", "'Huge' is not known"),
        (_swap('port="80"', 'port="0"'), "shop.csdef:4", "is not a port"),
        (_swap('localPort="8080"', 'localPort="x"'), "shop.csdef:4", "is not a port"),
        (_swap('protocol="http"', 'protocol="sctp"'), "shop.csdef:4", "'sctp' of an endpoint is not known"),
        (_swap('localPort="8080"', 'loadBalancerProbe="no"'), "shop.csdef:4", "no LoadBalancerProbe 'no'"),
        (_swap('sizeInMB="64"', 'sizeInMB="-1"'), "shop.csdef:7", "is not a size"),
        (_swap('name="cache"', 'name="__"'), "shop.csdef:7", "leaves no letter or digit"),
        (_swap('<OsImage href="base" />', ""), "shop.cscfg:2", "has no OsImage href"),
        (_swap('href="base"', 'href="..vhd"'), "shop.cscfg:4", "no image can be called"),
        (_swap("<VirtualMachineRole ", "<WebRole "), "shop.csdef:2", "WebRole 'web' is a web role"),
        (_swap("<VirtualMachineRole ", "<WorkerRole "), "shop.csdef:2", "WorkerRole 'web' is a worker role"),
        (_swap("<VirtualMachineRole ", "<MagicRole "), "shop.csdef:1", "there is no VirtualMachineRole"),
    ],
)
def test_a_fault_has_its_place(change: _Change, place: str, message: str) -> None:
    """What keeps a service from being imported is told with FILE:LINE and what to do."""
    ends = _swap("</VirtualMachineRole>", "</" + change(SMALL_CSDEF).split("<")[2].split()[0] + ">")
    with pytest.raises(InvalidInput) as refused:
        imported(ends(change(SMALL_CSDEF)), change(SMALL_CSCFG))
    told = [(str(refused.value), refused.value.hint), *((one.message, one.hint) for one in refused.value.problems)]
    assert any(text.startswith(f"{place}: ") and message in text and hint for text, hint in told), told


_SECOND = '<InputEndpoint name="b" protocol="tcp" port="x" />'
_ROLE = SMALL_CSDEF[SMALL_CSDEF.index("  <VirtualMachineRole") : SMALL_CSDEF.index("</ServiceDefinition>")]


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        (_swap('port="80" ', ""), [("InputEndpoint http has no port", 'port="…"')]),
        (_swap('port="80"', 'port="80x"'), [("InputEndpoint http has port '80x'", "1 to 65535")]),
        (
            _swap('port="80" localPort="8080" />', f'port="0" localPort="8080" />{_SECOND}'),
            [("http has port '0'", "1 to"), ("b has port 'x'", "1 to")],
        ),
        (_swap('sizeInMB="64"', 'sizeInMB="99999999999"'), [("of LocalStorage cache", "1 to 67108864")]),
        (_swap('vmsize="Small"', 'vmsize="small"'), [("'small' is not known", "write Small")]),
        (_swap('vmsize="Small"', 'vmsize="Tiny"'), [("'Tiny' is not known", "Standard_D2")]),
        (_swap("</ServiceDefinition>", f"{_ROLE}</ServiceDefinition>"), [("'web' is there twice", "rename")]),
        (_swap('name="web" ', ""), [("has no name", 'name="'), ("Role 'web' is not in", "it has: none")]),
        (_swap('name="web"', 'name="Web"'), [("Role 'web' is not in", "write Web")]),
    ],
)
def test_one_mistake_is_told_once(change: _Change, faults: list[tuple[str, str]]) -> None:
    """With the element that it is in, and nothing that merely follows from it."""
    assert change(SMALL_CSDEF) != SMALL_CSDEF
    with pytest.raises(InvalidInput) as refused:
        imported(change(SMALL_CSDEF))
    told = [(one.message, one.hint) for one in refused.value.problems] or [(str(refused.value), refused.value.hint)]
    assert len(told) == len(faults), told
    assert all(what in one[0] and hint in one[1] for one, (what, hint) in zip(told, faults, strict=True)), told


def test_letters_with_marks_keep_their_letters() -> None:
    """A role's name becomes one that a person still knows."""
    made = imported(SMALL_CSDEF.replace('"web"', '"Büro"'), SMALL_CSCFG.replace('"web"', '"Büro"'))
    assert [role.name for role in parsed(made.text).roles] == ["buro"]


@pytest.mark.parametrize(("name", "size"), [("Standard_D2", (2, 7168)), ("Standard_D14", (16, 114688))])
def test_later_sizes_are_known(name: str, size: tuple[int, int]) -> None:
    """Cloud Services had them after the A series."""
    made = imported(SMALL_CSDEF.replace('"Small"', f'"{name}"'))
    assert parsed(made.text).roles[0].size == Size(vcpus=size[0], memory_mib=size[1])


def test_broken_xml_is_not_told_of_answer_files() -> None:
    """The reader is shared, its words fit both."""
    for text in ("hello", SMALL_CSDEF[:-30], SMALL_CSDEF * 2):
        with pytest.raises(InvalidInput) as refused:
            imported(text)
        assert "unattend" not in f"{refused.value}{refused.value.hint}"
        assert refused.value.hint


def test_of_two_images_and_two_numbers_the_first_counts() -> None:
    """The schema allows one of each; what is left out is listed with that reason."""
    twice = CSCFG.replace(
        '<Instances count="3" />', '<Instances count="3" /><Instances count="9" /><OsImage href="b.vhd" />'
    )
    assert twice != CSCFG
    made = imported(CSDEF, twice)
    assert parsed(made.text).roles[0].instances == 3
    assert [note.what for note in made.notes if "the first counts" in note.why] == [
        "OsImage (href)",
        "Instances (count)",
    ]


def test_defaults_are_told() -> None:
    """A size that neither file says was Azure's to choose; the note says what it was."""
    made = imported(CSDEF.replace('vmsize="Medium"', ""), CSCFG)
    assert parsed(made.text).roles[0].size == SIZES["Small"]
    assert any("gets size Small" in note.what for note in made.notes)
    assert any("gets 100 MiB" in note.what for note in made.notes)


def test_names_that_become_one_are_refused() -> None:
    """Web.1 and web-1 are two roles on Azure and would be one here."""
    role = SMALL_CSDEF[SMALL_CSDEF.index("  <Virtual") : SMALL_CSDEF.index("</ServiceDef")]
    two = role.replace('"web"', '"Web.1"') + role.replace('"web"', '"web-1"').replace('"80"', '"81"')
    one = SMALL_CSCFG[SMALL_CSCFG.index("  <Role") : SMALL_CSCFG.index("</ServiceConf")]
    both = one.replace('"web"', '"Web.1"') + one.replace('"web"', '"web-1"')
    with pytest.raises(InvalidInput, match=r"shop.csdef:10: 'web-1' and 'Web.1' .* are both 'web-1' here"):
        imported(SMALL_CSDEF.replace(role, two), SMALL_CSCFG.replace(one, both))


def test_a_port_is_given_once() -> None:
    """Two input endpoints of a service cannot have the same port of its address."""
    line = SMALL_CSDEF[SMALL_CSDEF.index("      <Input") : SMALL_CSDEF.index("    </Endpoints")]
    with pytest.raises(InvalidInput, match=r"shop.csdef:5: port 80 is taken by line 4"):
        imported(SMALL_CSDEF.replace(line, line + line.replace('name="http"', 'name="again"')))


def test_an_address_is_asked_for() -> None:
    """A service with input endpoints has an address, which neither file says."""
    with pytest.raises(InvalidInput, match="neither file says its address") as refused:
        imported(wishes=dataclasses.replace(WISHES, vip=""))
    assert "--vip" in refused.value.hint


def test_an_image_for_no_role_is_refused() -> None:
    """--role-image names a role as the file does."""
    with pytest.raises(InvalidInput, match="no VirtualMachineRole 'Web'"):
        imported(wishes=dataclasses.replace(WISHES, role_images={"Web": "base"}))
