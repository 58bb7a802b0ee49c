"""One boot of the simulator: the agent at once, Setup and the services beside it, until the machine goes down."""

from __future__ import annotations

import threading
import time
import traceback

from vmrole_images.setup_simulator.guest import machine, services, web
from vmrole_images.setup_simulator.guest.agent import Agent
from vmrole_images.setup_simulator.guest.drive import Drive, DriveType
from vmrole_images.setup_simulator.guest.passes import Next, Setup
from vmrole_images.setup_simulator.guest.registry import COMPLETE, IMAGE_STATE
from vmrole_images.setup_simulator.guest.scripts import LOG
from vmrole_images.setup_simulator.guest.world import World, power_on

_RESTART_S = 0.5  # Between the end of specialize and the restart Windows takes its time too.
_LOOK_S = 0.1


def main() -> None:
    """Returns when the machine goes down."""
    threading.excepthook = _complain
    world = power_on((Drive("C", machine.SYSTEM, DriveType.FIXED),), machine.boot_text())
    power = _Power()
    agent = Agent(world, power.down, machine.interfaces, machine.SystemClock())
    for work in (lambda: machine.serve_agent(agent.answer), lambda: _set_up(world, power), lambda: _serve(world)):
        threading.Thread(target=work, daemon=True).start()
    machine.watch_power_button(lambda: power.down("powerdown"))
    power.wait()


def _set_up(world: World, power: _Power) -> None:
    """Setup, when the image needs it. Whatever takes the machine down meanwhile does so without asking it."""
    if world.values.get(IMAGE_STATE) == COMPLETE:
        machine.say(f"boot {world.boot} as {world.computer()}")
        return
    world.drives = (world.system, *machine.attach_discs())
    outcome = Setup(world, lambda line: _log(world, line), time.sleep).run()
    machine.detach_discs()
    world.drives = (world.system,)
    machine.say(f"setup: {world.values.get(IMAGE_STATE)} {outcome.why}".rstrip())
    if outcome.next is Next.RESTART:
        time.sleep(_RESTART_S)
        power.down("reboot")


def _log(world: World, line: str) -> None:
    """A line of setupact.log; they are few."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    before = world.system.read(LOG) or b""
    world.system.write(LOG, before + f"{stamp}, Info                         [windeploy.exe] {line}\r\n".encode())


def _serve(world: World) -> None:
    """The service SimulatedWeb: it answers when all services have come as far as they come, in whatever boot."""
    while world.since_boot_s() < services.settled_s(services.present(world.options)):
        time.sleep(_LOOK_S)
    machine.say("services have started")
    web.serve(lambda: _page(world))


def _page(world: World) -> dict[str, object]:
    instance, generation = world.note("instance"), world.note("generation")
    return {
        "hostname": world.computer(),
        "service": instance.partition(".")[2],
        "instance": instance,
        "generation": int(generation) if generation.isdecimal() else None,
        "boot": world.boot,
        "address": machine.address().partition("/")[0],
    }


class _Power:
    """Going down is the main thread's work: others say so and go on."""

    def __init__(self) -> None:
        self._mode = ""
        self._told = threading.Event()

    def down(self, mode: str) -> None:
        """The first one who says how decides."""
        self._mode = self._mode or mode
        self._told.set()

    def wait(self) -> None:
        """Waits for the word, then goes down."""
        self._told.wait()
        machine.go_down(self._mode)


def _complain(what: threading.ExceptHookArgs) -> None:
    """An error of ours is told where somebody may see it: on the console."""
    lines = traceback.format_exception(what.exc_type, what.exc_value, what.exc_traceback)
    machine.say("".join(lines).strip().replace("\n", " | "))


if __name__ == "__main__":
    main()
