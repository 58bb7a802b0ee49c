"""The rules of Windows Setup as the simulator plays them: search order, passes, the cached file, one restart."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from vmrole_images import NAMES, disk, setup_simulator, tools
from vmrole_images.setup_simulator import FILES
from vmrole_images.setup_simulator.guest import answerfile, options, registry
from vmrole_images.setup_simulator.guest.answerfile import AnswerFileError
from vmrole_images.setup_simulator.guest.cache import DELETED
from vmrole_images.setup_simulator.guest.drive import Drive, DriveType, locate
from vmrole_images.setup_simulator.guest.passes import Next, Outcome, Setup
from vmrole_images.setup_simulator.guest.search import CACHE, Found, search
from vmrole_images.setup_simulator.guest.world import World, power_on
from vmrole_images.setup_simulator.variant import variant
from vmrole_unattend.secret import Secret, SecretRef, SecretSource
from vmrole_unattend.windows import files, guest_command
from vmrole_unattend.windows.answers import Answers, Command, Machine

from orchestrator.cli.verbs import image as cli_image

COMPONENT = (
    '<component name="Microsoft-Windows-{}" processorArchitecture="{}" publicKeyToken="31bf3856ad364e35"'
    ' language="neutral" versionScope="nonSxS">{}</component>'
)
COMMAND = (
    '<RunSynchronousCommand wcm:action="add"><Order>{}</Order><Path>{}</Path><WillReboot>{}</WillReboot>'
    "</RunSynchronousCommand>"
)
FIND = guest_command.from_disc(guest_command.SPECIALIZE).replace('"', "&quot;")
NOTE = "<!-- vmrole instance web-0.shop generation 3 id 1b4e28ba-2fa1-11d2-883f-0016d3cca427 -->"
WELCOME = (
    "<OOBE><HideEULAPage>true</HideEULAPage></OOBE><UserAccounts><AdministratorPassword><Value>czNjcmV0</Value>"
    "<PlainText>false</PlainText></AdministratorPassword></UserAccounts>"
)


def component(name: str, inner: str, architecture: str = "amd64") -> str:
    """A component of Microsoft's."""
    return COMPONENT.format(name, architecture, inner)


def document(*passes: tuple[str, str], note: str = "") -> bytes:
    """An answer file with these (pass, components)."""
    settings = "".join(f'<settings pass="{name}">{inner}</settings>' for name, inner in passes)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<unattend xmlns="urn:schemas-microsoft-com:unattend"'
        f' xmlns:wcm="http://schemas.microsoft.com/WMIConfig/2002/State">{note}{settings}</unattend>'
    ).encode()


def specialize(name: str = "web-0", *commands: tuple[str, str]) -> tuple[str, str]:
    """The specialize pass: a computer name, and (command, WillReboot) after our own."""
    lines = [(FIND, "Never"), *commands]
    run = "".join(COMMAND.format(number + 1, *line) for number, line in enumerate(lines))
    shell = component("Shell-Setup", f"<ComputerName>{name}</ComputerName>")
    return "specialize", shell + component("Deployment", f"<RunSynchronous>{run}</RunSynchronous>")


def oobe(shell: str = WELCOME) -> tuple[str, str]:
    """The oobeSystem pass."""
    locale = component("International-Core", "<UserLocale>en-US</UserLocale>")
    return "oobeSystem", locale + component("Shell-Setup", shell)


def put(drive: Drive, path: str, content: bytes) -> None:
    """A file on a drive."""
    drive.write(path, content)


@pytest.fixture
def system(tmp_path: Path) -> Drive:
    """C: as Sysprep leaves it."""
    drive = Drive("C", tmp_path / "c", DriveType.FIXED)
    drive.root.mkdir()
    setup_simulator.seal(drive)
    return drive


@pytest.fixture
def disc(tmp_path: Path) -> Drive:
    """A CD with an answer disc as vmrole makes it."""
    drive = Drive("D", tmp_path / "d", DriveType.READ_ONLY)
    drive.root.mkdir()
    put(drive, "Unattend.xml", document(specialize(), oobe(), note=NOTE))
    put(drive, guest_command.SPECIALIZE, guest_command.specialize("web-0.shop", 3).encode())
    put(drive, r"vmrole\boot.ps1", guest_command.BOOT_SCRIPT.encode())
    return drive


def boot(drives: tuple[Drive, ...], name: str = "boot one") -> tuple[World, Outcome]:
    """One boot up to the end of Setup's part in it."""
    world = power_on(drives, name)
    return world, Setup(world, lambda _line: None, lambda _seconds: None).run()


def found(name: str, *drives: Drive) -> Found | None:
    """What Setup takes for a pass."""
    return search(name, drives, registry.Registry(drives[0]))


@pytest.mark.parametrize("kept", [True, False])
def test_the_first_logon_needs_no_disc(system: Drive, disc: Drive, kept: bool) -> None:
    """It may come years after the disc has gone: what it runs was copied at specialize."""
    first = '<FirstLogonCommands><SynchronousCommand wcm:action="add"><CommandLine>{}</CommandLine><Order>1</Order>'
    command = guest_command.from_copy(guest_command.FIRST_LOGON).replace('"', "&quot;")
    logon = "<AutoLogon><Enabled>true</Enabled></AutoLogon>"
    shell = WELCOME + logon + first.format(command) + "</SynchronousCommand></FirstLogonCommands>"
    put(disc, "Unattend.xml", document(specialize(), oobe(shell), note=NOTE))
    if kept:
        put(disc, guest_command.FIRST_LOGON, guest_command.first_logon(["echo hello"]).encode())
    _, outcome = boot((system, disc))
    assert outcome.next is Next.RESTART
    boot((system,), "boot two")
    ran = system.read(r"Windows\Setup\vmrole\first-logon.log")
    assert (ran is not None and b"echo hello" in ran) is kept


def test_names_are_compared_without_case_and_stay_inside(tmp_path: Path, system: Drive) -> None:
    """C:\\WINDOWS is C:\\Windows; no path and no link leads out of the drive."""
    put(system, r"Windows\Panther\Unattend.XML", b"here")
    assert system.read("windows/PANTHER/unattend.xml") == b"here"
    assert system.name_of(r"WINDOWS\panther\UNATTEND.xml") == r"C:\Windows\Panther\Unattend.XML"
    (tmp_path / "secret").write_text("no")
    (system.root / "link").symlink_to(tmp_path / "secret")
    assert system.read(r"..\secret") is None
    assert system.read("link") is None
    assert locate(r"%SystemRoot%\x", (system,)) == (system, r"Windows\x")
    assert locate(r"E:\x", (system,)) is None


def test_the_search_order_is_microsofts(tmp_path: Path, system: Drive, disc: Drive) -> None:
    """Each place wins over all that are below it in the table."""
    stick = Drive("E", tmp_path / "e", DriveType.REMOVABLE)
    stick.root.mkdir()
    values = registry.Registry(system)
    values.set({registry.ANSWER_FILE: r"C:\answers\any.name"})
    places = [
        (system, r"answers\any.name"),
        (system, r"Windows\Panther\Unattend\Autounattend.xml"),
        (system, CACHE),
        (stick, "UNATTEND.XML"),
        (disc, "Unattend.xml"),
        (system, r"Windows\System32\Sysprep\unattend.xml"),
        (system, "autounattend.xml"),
    ]
    for drive, path in places:
        put(drive, path, document(specialize()))
    for rank, (drive, path) in enumerate(places, start=1):
        took = search("specialize", (system, disc, stick), values)
        assert took is not None
        assert (took.rank, took.place) == (rank, drive.name_of(path))
        drive.remove(path)
    assert search("specialize", (system, disc, stick), values) is None


def test_a_sealed_image_takes_no_autounattend_from_a_disc(system: Drive, disc: Drive) -> None:
    """Installation media have that name; in the field a sealed image passes it over."""
    disc.remove("Unattend.xml")
    put(disc, "Autounattend.xml", document(specialize()))
    assert found("specialize", system, disc) is None


def test_a_processed_pass_lets_the_next_place_win(system: Drive, disc: Drive) -> None:
    """The cached file of an earlier deployment is in the way only as long as its pass is not annotated."""
    put(system, CACHE, document(specialize("old")))
    first = found("specialize", system, disc)
    put(system, CACHE, document(specialize("old")).replace(b'"specialize"', b'"specialize" wasPassProcessed="true"'))
    second = found("specialize", system, disc)
    assert first is not None
    assert second is not None
    assert (first.rank, second.rank) == (3, 5)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\n" + document(specialize()), "not well-formed"),
        (document(specialize(), specialize()), "specialize is there twice"),
        (document(("first", "")), "there is no pass 'first'"),
        (document(("specialize", component("A", "") * 2)), "Microsoft-Windows-A is twice"),
        (document(("specialize", component("A", "<B>1</B><B>2</B>"))), "/b is there twice"),
        (document(("specialize", '<component name="A"/>')), "has no processorArchitecture"),
        (b'<!DOCTYPE unattend [<!ENTITY a "a">]>' + document().partition(b"\n")[2], "document type"),
        (b"<unattend/>", "its root is unattend"),
    ],
)
def test_a_file_that_setup_cannot_read_stops_it(system: Drive, disc: Drive, content: bytes, why: str) -> None:
    """Setup does not pass over a broken file; it stops, and the image stays undeployable."""
    put(disc, "Unattend.xml", content)
    world, outcome = boot((system, disc))
    assert outcome.next is Next.WAIT
    assert why in outcome.why
    assert world.values.get(registry.IMAGE_STATE) == registry.UNDEPLOYABLE
    with pytest.raises(AnswerFileError):
        answerfile.parse(content)


def test_another_architecture_is_passed_over_in_silence(system: Drive, disc: Drive) -> None:
    """The file is taken, nothing in it is, and the machine gets a name that nobody asked for."""
    put(disc, "Unattend.xml", document(("specialize", specialize()[1].replace('"amd64"', '"x86"'))))
    world, outcome = boot((system, disc))
    assert outcome.next is Next.RESTART
    assert world.values.get(registry.NAME).startswith("WIN-")


def test_a_deployment_is_two_boots(system: Drive, disc: Drive) -> None:
    """specialize, restart, oobeSystem; the name holds from the second boot, the disc's notes tell which was first."""
    state = registry.IMAGE_STATE
    world, outcome = boot((system, disc), "one")
    assert outcome.next is Next.RESTART
    assert world.values.get(state) == registry.SPECIALIZED
    assert world.computer() == "WIN-GENERALIZED"
    assert system.read(registry.STATE_INI) == f"[State]\r\nImageState={registry.SPECIALIZED}\r\n".encode()
    assert [world.note(name) for name in ("setup-boot", "generation", "instance")] == ["one", "3", "web-0.shop"]

    world, outcome = boot((system,), "two")
    assert outcome.next is Next.SERVE, "the second boot needs no disc: the answer file is cached"
    assert [world.values.get(name) for name in (state, registry.SYSTEM_SETUP, registry.OOBE)] == [
        registry.COMPLETE,
        "0",
        "0",
    ]
    assert (world.computer(), world.note("setup-boot")) == ("WEB-0", "one")

    world, outcome = boot((system, disc), "three")
    assert (outcome.next, world.computer()) == (Next.SERVE, "WEB-0"), "a later boot sets nothing up"


def test_the_disc_that_vmrole_makes_sets_a_machine_up(tmp_path: Path, system: Drive) -> None:
    """The files of a real disc: found, name taken, notes written, nothing asked, the user's command run."""
    answers = Answers(
        administrator_password=SecretRef(source=SecretSource.ENV, name="PASSWORD"),
        specialize=(Command(line="simulate slow-service=7"),),
    )
    machine = Machine(
        role="web", index=0, service="shop", instance="web-0.shop", generation=3, mac="52:54:00:12:34:56",
        instance_id="1b4e28ba-2fa1-11d2-883f-0016d3cca427", address="10.90.0.2/24", gateway="10.90.0.1",
    )  # fmt: skip
    drive = Drive("E", tmp_path / "e", DriveType.READ_ONLY)
    drive.root.mkdir()
    for name, content in files.files(answers, machine, lambda _wanted: Secret("pa55&<word>")).items():
        put(drive, name, content)
    world, outcome = boot((system, drive), "20261122023000.123456+000")
    assert outcome.next is Next.RESTART, outcome.why
    world, outcome = boot((system,), "20261122023100.123456+000")
    assert outcome.next is Next.SERVE, outcome.why
    assert (world.computer(), world.options.slow_service) == ("WEB-0", 7.0)
    notes = [world.note(name) for name in ("setup-boot", "generation", "instance")]
    assert notes == ["20261122023000.123456+000", "3", "web-0.shop"]


def test_the_cached_file_is_annotated_and_holds_no_secret(system: Drive, disc: Drive) -> None:
    """Secrets of a pass go at its end, not before it; comments stay."""
    boot((system, disc))
    cached = answerfile.parse(system.read(CACHE) or b"")
    assert not cached.pending("specialize")
    assert cached.pending("oobeSystem")
    assert b"czNjcmV0" in (system.read(CACHE) or b"")
    boot((system, disc))
    content = system.read(CACHE) or b""
    assert not answerfile.parse(content).pending("oobeSystem")
    assert b"czNjcmV0" not in content
    assert DELETED.encode() in content
    assert b"vmrole instance web-0.shop generation 3" in content


def test_a_stale_cache_wins_over_the_disc(system: Drive, disc: Drive) -> None:
    """The classic failure: the image's own cached file names the machine, and our disc is never looked at."""
    put(system, CACHE, document(("specialize", component("Shell-Setup", "")), oobe()))
    world, _outcome = boot((system, disc))
    world, outcome = boot((system, disc))
    assert outcome.next is Next.SERVE
    assert world.computer().startswith("WIN-")
    assert world.note("setup-boot") == ""


@pytest.mark.parametrize(
    ("shell", "question"),
    [
        (WELCOME.replace("true", "false"), "license"),
        ("<OOBE><HideEULAPage>true</HideEULAPage></OOBE>", "administrator's password"),
    ],
)
def test_what_is_not_answered_is_asked(system: Drive, disc: Drive, shell: str, question: str) -> None:
    """Windows Welcome waits for a person, after a restart again; an answer file that comes then does not help."""
    put(disc, "Unattend.xml", document(specialize(), oobe(shell)))
    boot((system, disc))
    for _boot in range(2):
        world, outcome = boot((system, disc))
        assert outcome.next is Next.WAIT
        assert question in outcome.why
        assert world.values.get(registry.OOBE) == "1"


def test_without_an_answer_file_a_person_is_asked(system: Drive) -> None:
    """An image that finds nothing gets a random name and waits for its country."""
    boot((system,))
    world, outcome = boot((system,))
    assert outcome == Outcome(Next.WAIT, "Windows Welcome asks for country and language")
    assert world.computer().startswith("WIN-")


def test_a_reset_in_the_middle_of_specialize_is_the_end(system: Drive, disc: Drive) -> None:
    """Windows says that the computer restarted unexpectedly, at every boot: nobody may reset a guest in setup."""
    world = power_on((system, disc), "one")

    def power_cut(_seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Setup(world, lambda _line: None, power_cut).run()
    for _boot in range(2):
        world, outcome = boot((system, disc))
        assert "restarted unexpectedly" in outcome.why
        assert world.values.get(registry.IMAGE_STATE) == registry.UNDEPLOYABLE


def test_a_command_may_restart_the_machine(system: Drive, disc: Drive) -> None:
    """WillReboot=Always: the next boot goes on with the next command, and specialize ends in a restart of its own."""
    put(
        disc,
        "Unattend.xml",
        document(specialize("web-0", ("simulate slow-service=1", "Always"), ("simulate slow-service=2", "Never"))),
    )
    world, outcome = boot((system, disc))
    assert (outcome.next, world.options.slow_service) == (Next.RESTART, 1.0)
    assert world.values.get(registry.IMAGE_STATE) == registry.UNDEPLOYABLE
    world, outcome = boot((system, disc))
    assert (outcome.next, world.options.slow_service) == (Next.RESTART, 2.0)
    assert world.values.get(registry.IMAGE_STATE) == registry.SPECIALIZED


def test_wishes_are_kept_and_checked(system: Drive, disc: Drive) -> None:
    """A command at specialize makes the simulator misbehave from then on; a wish that there is not fails."""
    put(disc, "Unattend.xml", document(specialize("web-0", ("cmd /c simulate stuck=true", "Never"))))
    world, outcome = boot((system, disc))
    assert outcome == Outcome(Next.WAIT, "told to be stuck in specialize")
    assert options.read(system).stuck
    for wish in ({"unknown": "1"}, {"stuck": "perhaps"}, {"slow-service": "long"}):
        with pytest.raises(options.OptionError):
            world.wish(wish)


@pytest.mark.parametrize("name", ["sixteen-letters-", "12345", "a b", "web_0*"])
def test_an_impossible_computer_name_stops_setup(system: Drive, disc: Drive, name: str) -> None:
    """Setup neither shortens nor mends a name."""
    put(disc, "Unattend.xml", document(specialize(name)))
    assert "cannot be a computer's name" in boot((system, disc))[1].why


def test_every_recipe_is_one_of_the_commands() -> None:
    """`vmrole image build` offers what there is a recipe for."""
    offered = next(option for option in cli_image.build.params if option.name == "recipe").type
    assert tuple(offered.to_info_dict()["choices"]) == (*NAMES, "windows"), (
        "windows is built from media, not packages"
    )


def test_the_guests_scripts_are_sound() -> None:
    """shellcheck finds nothing in the scripts that start the simulator."""
    scripts = [str(file) for file in sorted(FILES.iterdir()) if file.read_text().startswith("#!")]
    assert len(scripts) == 4
    # SC2154: udhcpc sets variables.
    command = ["shellcheck", "-s", "dash", "-e", "SC2154", *scripts]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == ""


def test_a_variant_has_more_files_on_its_drive(tmp_path: Path) -> None:
    """Files reach C: of a copy, in directories that were there or not, in place of what was there."""
    tree = tmp_path / "tree"
    (tree / "boot").mkdir(parents=True)
    (tree / "boot/vmlinuz").write_bytes(b"no kernel")
    system = Drive("C", tree / setup_simulator.SYSTEM_DRIVE, DriveType.FIXED)
    system.root.mkdir()
    setup_simulator.seal(system)
    disk.make_bootable(tree, setup_simulator.PLAN, tmp_path, tmp_path / "image.qcow2")
    files = {"Windows/Panther/unattend.xml": b"old", "simulator.json": b"{}", "A new/place/x": b"y"}
    variant(tmp_path / "image.qcow2", tmp_path / "variant.qcow2", files)
    tools.run(["qemu-img", "convert", "-O", "raw", tmp_path / "variant.qcow2", tmp_path / "raw"])
    for name, content in files.items():
        shown = tools.run(["debugfs", "-R", f'cat "/c/{name}"', f"{tmp_path / 'raw'}?offset={disk.PARTITION_START}"])
        assert shown == content.decode()
