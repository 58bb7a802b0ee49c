"""What a Windows guest's services mean: the table of what counts, and words for what went wrong."""

from __future__ import annotations

import importlib.resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.drivers.guest import windows_services
from orchestrator.drivers.guest.windows_services import Service
from orchestrator.drivers.tools.hostile_text import harmless
from orchestrator.model import Ready, Services
from tests.world.heard import heard

NEVER, CRASHED = 1077, 1067
W3SVC = Service(name="W3SVC", state="Running")


def judged(*services: Service, ready: Ready = Ready(), patient: bool = True) -> Services:  # noqa: B008 - frozen
    return windows_services.judge(services, ready, patient=patient)


def stopped(name: str, exit_code: int = 0, **more: object) -> Service:
    """A service that does not run."""
    return Service(name=name, state="Stopped", exit_code=exit_code, **more)  # type: ignore[arg-type]


# Reading ------------------------------------------------------------------------------------------------------


def test_the_whole_output_is_read() -> None:
    """Seven fields per service; a name may hold the character that parts them."""
    said = "service=gupdate|Stopped|0|0|1|0|16\r\nservice=a|b|Start Pending|0|0|0|1|224\r\nend=2\r\n"
    assert windows_services.parse(said) == (
        Service(name="gupdate", state="Stopped", delayed=True, kind=16),
        Service(name="a|b", state="Start Pending", trigger=True, kind=224),
    )
    assert windows_services.parse("end=0\n") == ()


def test_a_wmi_that_tells_of_nothing_has_not_answered() -> None:
    """A query that failed looks like a Windows without services: the script does not end its answer then."""
    script = importlib.resources.files("orchestrator.drivers.guest.windows").joinpath("services.ps1").read_text()
    (ending,) = [line for line in script.splitlines() if "'end='" in line]
    assert ending.startswith("if ($seen -gt 0) {")
    assert windows_services.parse("") is None


@pytest.mark.parametrize(
    "said",
    [
        "",
        "service=W3SVC|Stopped|0|0|0|0|16\n",
        "service=W3SVC|Stopped|0|0|0|0|16\nend=2\n",
        "service=W3SVC|Stopped|0\nend=1\n",
        "service=W3SVC|Stopped|x|0|0|0|16\nend=1\n",
        "service=W3SVC|Stopped|-1|0|0|0|16\nend=1\n",
        "service=W3SVC|Stopped|99999999999|0|0|0|16\nend=1\n",
        "service=|Stopped|0|0|0|0|16\nend=1\n",
        "service=W3SVC|Stopped|\u0661|0|0|0|16\nend=1\n",
    ],
)
def test_what_was_cut_or_garbled_is_no_answer(said: str) -> None:
    """An output without its end, with another count or with fields that are no numbers is not believed in part."""
    assert windows_services.parse(said) is None


# Judging ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (stopped("RemoteRegistry", CRASHED, trigger=True), heard(started=True)),
        (stopped("MapsBroker", NEVER, delayed=True), heard(started=True)),
        (stopped("CDPUserSvc_3a5b7", CRASHED, kind=0xE0), heard(started=True)),
        (stopped("sppsvc"), heard(started=True)),
        (Service(name="Spooler", state="Paused"), heard(started=True)),
        (Service(name="W3SVC", state="Start Pending"), heard(started=False, pending=("W3SVC",))),
        (Service(name="W3SVC", state="Continue Pending"), heard(started=False, pending=("W3SVC",))),
        (Service(name="W3SVC", state="Stop Pending"), heard(started=False, pending=("W3SVC",))),
        (Service(name="W3SVC", state="Unknown"), heard(started=False, pending=("W3SVC (Unknown)",))),
        (stopped("W3SVC", NEVER), heard(started=False, pending=("W3SVC",))),
        (
            stopped("W3SVC", CRASHED),
            heard(started=False, failed=("W3SVC: its process ended unexpectedly (1067)",)),
        ),
        (
            stopped("W3SVC", 1068),
            heard(started=False, failed=("W3SVC: a service that it depends on did not start (1068)",)),
        ),
        (
            stopped("W3SVC", 1066, specific=7),
            heard(started=False, failed=("W3SVC: it ended with an error of its own, 7 (1066)",)),
        ),
        (stopped("W3SVC", 4242), heard(started=False, failed=("W3SVC: it ended with error 4242",))),
    ],
)
def test_what_counts(service: Service, expected: Services) -> None:
    """Trigger-start, per-user and delayed services do not count; exit code 0 is work done; others are told."""
    assert judged(service) == expected


@pytest.mark.parametrize("code", [1053, 1058, 1066, 1067, 1068, 1069])
def test_well_known_codes_are_told_in_words(code: int) -> None:
    """The code stays in the sentence, for whoever looks it up, and words stand before it."""
    (told,) = judged(stopped("W3SVC", code)).failed
    assert told.endswith(f"({code})")
    assert f"error {code}" not in told or code == 1066


def test_grace_ends() -> None:
    """A service that nobody has tried to start is waited for at first; then it is noted, and holds nobody up."""
    never = stopped("W3SVC", NEVER)
    assert not judged(never).started
    assert judged(never, patient=False) == heard(started=True, note="nobody has tried to start W3SVC")
    many = [stopped(f"S{number}", NEVER) for number in range(5)]
    assert judged(*many, patient=False).note == "nobody has tried to start S0, S1, S2 and 2 more"


def test_delayed_services_are_waited_for_on_demand() -> None:
    """With `ready.delayed` a delayed service counts, and its grace has no end but the deadline."""
    delayed = stopped("MapsBroker", NEVER, delayed=True)
    assert judged(delayed, ready=Ready(delayed=True), patient=False).pending == ("MapsBroker",)
    assert judged(stopped("MapsBroker", delayed=True), ready=Ready(delayed=True)).started
    assert judged(stopped("MapsBroker", CRASHED, delayed=True), ready=Ready(delayed=True)).failed


def test_ignored_services_do_not_matter() -> None:
    """`ready.ignore` compares names as Windows does: without case."""
    assert judged(stopped("W3SVC", CRASHED), ready=Ready(ignore=("w3svc",))) == heard(started=True)


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (W3SVC, heard(started=True)),
        (stopped("W3SVC"), heard(started=False, pending=("W3SVC (stopped)",))),
        (stopped("W3SVC", NEVER, trigger=True), heard(started=False, pending=("W3SVC (stopped)",))),
        (Service(name="W3SVC", state="Start Pending"), heard(started=False, pending=("W3SVC (start pending)",))),
        (
            stopped("W3SVC", CRASHED),
            heard(started=False, failed=("W3SVC: its process ended unexpectedly (1067)",)),
        ),
        (
            Service(name="Other", state="Running"),
            heard(started=False, pending=("w3svc: there is no such service",)),
        ),
    ],
)
def test_required_services_must_run(service: Service, expected: Services) -> None:
    """`ready.services` must be running, whatever starts them; a name that the guest does not know is told."""
    assert judged(service, ready=Ready(units=("w3svc",), ignore=("W3SVC",)), patient=False) == expected


@given(st.text())
def test_any_output_is_survived(said: str) -> None:
    """Whatever a guest prints, the judgement ends, is short, and holds nothing that a terminal would act on."""
    texts = (said, f"service={said}|Stopped|1067|0|0|0|16\nend=1", f"service=W3SVC|{said}|0|0|0|0|16\nend=1")
    for text in texts:
        for services in (
            windows_services.parse(text),
            windows_services.parse_without_powershell(text, (said,)),
            windows_services.parse_without_powershell(SC.replace("Spooler", said), ()),
        ):
            found = windows_services.judge(services or (), Ready(), patient=False)
            shown = [found.note, *found.pending, *found.failed]
            assert all(len(line) < 400 and line == harmless(line, 400) for line in shown)


def test_a_thousand_failures_are_told_shortly() -> None:
    """A guest with a thousand failed services gets a list that a person reads."""
    found = judged(*(stopped(f"S{number}", CRASHED) for number in range(1000)))
    assert len(found.failed) == 21
    assert found.failed[-1] == "and 980 more"


# Without PowerShell ---------------------------------------------------------------------------------------------

SC = """
NOM_SERVICE: W3SVC
NOM_COMPLET : Service de publication : World Wide Web
        TYPE               : 20  WIN32_SHARE_PROCESS
        ÉTAT               : 4  RUNNING
                                (STOPPABLE, NOT_PAUSABLE, ACCEPTS_SHUTDOWN)
        CODE_SORTIE_WIN32  : 0  (0x0)
        CODE_SORTIE_SERVICE: 0  (0x0)
        POINT_DE_CONTRÔLE  : 0x0
        INDICATION_ATTENTE : 0x0
        ID_PROCESSUS       : 1234
        INDICATEURS        :

NOM_SERVICE: Spooler
NOM_COMPLET : Spouleur d'impression
        TYPE               : 110  WIN32_OWN_PROCESS (interactive)
        ÉTAT               : 1  STOPPED
        CODE_SORTIE_WIN32  : 1067  (0x42b)
        CODE_SORTIE_SERVICE: 0  (0x0)
        POINT_DE_CONTRÔLE  : 0x0
        INDICATION_ATTENTE : 0x0

NOM_SERVICE: RemoteRegistry
NOM_COMPLET : Registre à distance
        TYPE               : 20  WIN32_SHARE_PROCESS
        ÉTAT               : 1  STOPPED
        CODE_SORTIE_WIN32  : 1077  (0x435)
        CODE_SORTIE_SERVICE: 0  (0x0)

NOM_SERVICE: ALG
NOM_COMPLET : ALG
        TYPE               : 10  WIN32_OWN_PROCESS
        ÉTAT               : 1  STOPPED
        CODE_SORTIE_WIN32  : 1077  (0x435)
        CODE_SORTIE_SERVICE: 0  (0x0)
"""
KEY = r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services"
REG = rf"""
{KEY}\W3SVC
    Start    REG_DWORD    0x2

{KEY}\Spooler
    Start    REG_DWORD    0x2

{KEY}\RemoteRegistry
    Start    REG_DWORD    0x2

{KEY}\ALG
    Start    REG_DWORD    0x3

{KEY}\ALG\Parameters
    Start    REG_DWORD    0x2

Fin de la recherche : 5 correspondance(s) trouvée(s).

{KEY}\Spooler
    Type    REG_DWORD    0x110

{KEY}\Spooler
    DelayedAutostart    REG_DWORD    0x0

{KEY}\RemoteRegistry\TriggerInfo

Fin de la recherche : 1 correspondance(s) trouvée(s).
"""


def test_sc_and_reg_tell_the_same() -> None:
    """Where there is no PowerShell, sc.exe's numbers and the registry say which automatic services do not run."""
    found = windows_services.parse_without_powershell(SC + REG, ())
    assert found == (
        Service(name="Spooler", state="Stopped", exit_code=1067, kind=0x110),
        Service(name="RemoteRegistry", state="Stopped", exit_code=1077, trigger=True),
    )
    named = windows_services.parse_without_powershell(SC + REG, ("alg", "w3svc"))
    assert named is not None
    assert {service.name for service in named} == {"W3SVC", "Spooler", "RemoteRegistry", "ALG"}


@pytest.mark.parametrize("said", ["", SC, REG, "Access is denied.\r\n"])
def test_half_of_it_is_no_answer(said: str) -> None:
    """Without the list, or without how services are started, nothing is known."""
    assert windows_services.parse_without_powershell(said, ()) is None
