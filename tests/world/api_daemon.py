"""A daemon in this process: the real store, image repository, core, API and socket, over the fake world."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from pathlib import Path
from typing import Self

from fastapi import FastAPI

from orchestrator.api import Listener, Server, bind, create_app, serve
from orchestrator.api.peers import Admission
from orchestrator.client.client import Client
from orchestrator.control import records, verify
from orchestrator.control.attaching import Attaching
from orchestrator.control.attendance import Attendance
from orchestrator.control.catalogue import Catalogue
from orchestrator.control.deployment import Capacity
from orchestrator.control.drives import Drives
from orchestrator.control.loop import Reconciler
from orchestrator.control.present import Present
from orchestrator.control.requests import Control
from orchestrator.control.tokens import Tokens
from orchestrator.drivers.disks.drives import RawDrives
from orchestrator.drivers.fake import World, fake_host
from orchestrator.drivers.images.image_files import LocalImageFiles
from orchestrator.drivers.kept_evidence import KeptEvidence
from orchestrator.drivers.secrets import HostSecrets
from orchestrator.drivers.store.pending import Pending
from orchestrator.drivers.store.sqlite import SqliteStore
from orchestrator.drivers.tools.layout import Layout
from orchestrator.model import Image, Instance, Operation, Progress, Service
from orchestrator.model.drive import Drive
from orchestrator.ports import Write
from tests.world.images import DIGEST, image

SECRET = "swordfish-7791"
SHOP = f"""\
service: shop
vip: 203.0.113.10
roles:
  web:
    image: micro
    instances: 3
    size: {{vcpus: 1, memory: 128 MiB}}
    endpoints:
      http: {{port: 80, target: 8080, protocol: http, probe: {{path: /healthz}}}}
    localStorage:
      cache: {{size: 64 MiB}}
    answers:
      userData: |
        #cloud-config
        password: {SECRET}
"""
ROOT_ALONE = Admission()  # and who runs the tests
SILENCE_S = 3600.0  # of a client who has a lease: his second is a minute of the fake world
TICK_S = 0.01  # of real time; in each, the fake world lives for half a second


class Daemon:
    """A `with` around everything. Time stands still in the fake world unless `alive`."""

    def __init__(self, directory: Path, *, alive: bool = False, admission: Admission = ROOT_ALONE) -> None:
        self.socket = directory / "s.sock"
        self.layout = Layout(directory / "state", directory / "run")
        self.secrets_dir = directory / "secrets"
        self.world = World()
        self._alive = alive
        self._admission = admission
        self.begins_anew = threading.Event()  # set when it is to end and start again, which is the test's to do
        self._stack = contextlib.ExitStack()
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.layout.state.mkdir(parents=True, exist_ok=True)
            self.restores = Pending(self.layout.records, staged=self.begins_anew.set)
            self.restores.apply()
            self.store = stack.enter_context(SqliteStore(self.layout.state / "vmrole.db"))
            self.present = Present(self.store)
            self.images = Catalogue(self.present, self.world, LocalImageFiles(self.layout, virtual_size_max=1 << 40))
            self.tokens = Tokens(self.present, self.world)
            self._host = host = fake_host(self.world)
            self.reconciler = Reconciler(self.store, host, present=self.present, workers=4)
            self.reconciler.attendance = Attendance(self.world, SILENCE_S)
            self.control = Control(
                self.store,
                find_image=self.images.find,
                secret_fault=HostSecrets(self.secrets_dir, environment={"HOME": SECRET}).fault,
                capacity=Capacity(pool="10.90.0.0/16", memory_mib=16_384),
                clock=self.world,
                wake=self.reconciler.wake if self._alive else lambda _kind, _key: None,
                seats=host.front.balancer.seats,
                traffic=host.front.balancer.traffic,
                probed=host.front.balancer.probed,
                agent=host.machine.guest.agent,
                inside=host.machine.inside,
                kept_keys=host.machine.media.host_keys,
                present=self.present,
                attendance=self.reconciler.attendance,
            )
            files, enlarge = RawDrives(self.layout), host.machine.hypervisor.enlarge
            self.drives = Drives(self.present, files, self.world, self.control.custody, enlarge)
            self.app = self._made()
            if self._alive:
                self.reconciler.start()
                stack.callback(self.reconciler.stop)
                life = threading.Thread(target=self._live, name="life")
                life.start()
                stack.callback(life.join)
                stack.callback(self._stopped.set)
            self.server: Server = serve(self.app, Listener(bind(self.socket, None), self._admission))
            stack.callback(lambda: self.server.stop())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _made(self) -> FastAPI:
        return create_app(
            self.control,
            self.images,
            tokens=self.tokens,
            attaching=Attaching(self.present, self.drives, self._host.machine, self.control.instance, patience=0.02),
            blobs=self._host.machine.blobs,
            console=self.layout.console,
            evidence=KeptEvidence(self.layout, self.world),
            findings=self._findings,
            repair=lambda: verify.repair(self._host, self._findings(), lambda _name: False),
            backup=lambda: self.store.backup(),
            restores=self.restores,
        )

    def _findings(self) -> list[verify.Finding]:
        services, instances = self.control.services(), self.control.instances()
        found = verify.findings(self._host, services, instances, self.present.set_aside())
        lies = RawDrives(self.layout).inventory()
        found += verify.drive_findings(self.present.all(Drive), lies, self.present.set_aside())
        return [*verify.restore_findings(self.restores.last(), str(self.restores.refused)), *found]

    def _live(self) -> None:
        while not self._stopped.wait(TICK_S):
            with self.world.lock:
                self.world.pass_time(0.5)
            for service in self.present.all(Service):
                self.reconciler.wake("service", service.name)
            for instance in self.present.all(Instance):
                self.reconciler.wake("instance", instance.name)
            for operation in self.present.all(Operation):
                if operation.progress is Progress.RUNNING:
                    self.reconciler.wake("operation", operation.id)

    def restart_api(self) -> None:
        """As a daemon that is stopped and started again, seen from a client."""
        self.server.stop()
        self.app = self._made()
        self.server = serve(self.app, Listener(bind(self.socket, None), self._admission))

    def client(self) -> Client:
        """A client of this daemon."""
        return Client(str(self.socket))

    def give_image(self, name: str = "micro", digest: str = DIGEST) -> Image:
        """A record of an image without bytes: enough for everything but the repository itself."""
        found = image(
            sha256=digest,
            size_bytes=1 << 20,
            virtual_size_bytes=1 << 30,
            names=(name,),
            added_at_s=self.world.now_s(),
        )
        self.world.images.add(digest)
        self.store.commit([records.put(found)])
        return found

    def wipe(self) -> None:
        """Forgets every record and makes the world anew, so that tests can share a daemon; events stay."""
        vars(self.world).update(vars(World()))
        for kind in records.KINDS:
            for document in self.store.all(kind):
                self.store.commit([Write(kind, document.key, None, document.revision)])


def exchange(path: Path, request: bytes, *, within_s: float = 60.0) -> bytes:
    """Sends bytes as they are and returns everything that comes back until the connection ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(within_s)
        connection.connect(str(path))
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65_536):
                answer += chunk
        return answer


logging.getLogger("uvicorn").setLevel(logging.WARNING)
