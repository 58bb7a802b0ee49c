"""Vagrant with its provider for libvirt: `destroy` and `up`, which waits until it can log in."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Sequence
from typing import Final

from tests.bench.peers.hand import Hand
from tests.bench.peers.stage import CPU, MACHINE, MEMORY_MIB, NETWORK, POOL_XML
from tests.lab.harness.places import COMMAND_S, HOST

_BOX: Final = "peers"
_UP_S: Final = 1800.0
_FILE: Final = """Vagrant.configure("2") do |config|
  config.vm.box = "{box}"
  config.vm.box_check_update = false
  config.vm.synced_folder ".", "/vagrant", disabled: true
  config.ssh.insert_key = false
  config.vm.boot_timeout = 1500
{machines}end
"""
# The key of the box is the well-known one; the answers lie on a disk that is there already.
_MACHINE: Final = """  config.vm.define "{name}" do |machine|
    machine.vm.provider :libvirt do |libvirt|
      libvirt.default_prefix = ""
      libvirt.driver = "qemu"
      libvirt.uri = "qemu:///system"
      libvirt.cpu_mode = "custom"
      libvirt.cpu_model = "{cpu}"
      libvirt.cpu_fallback = "allow"
      libvirt.machine_type = "{machine}"
      libvirt.memory = {memory_mib}
      libvirt.cpus = 1
      libvirt.graphics_type = "none"
      libvirt.video_type = "none"
      libvirt.channel :type => "unix", :target_name => "org.qemu.guest_agent.0", :target_type => "virtio"
      libvirt.storage_pool_name = "vagrant"
      libvirt.management_network_name = "{network}"
      libvirt.management_network_address = "10.91.0.0/24"
      libvirt.management_network_mac = "{mac}"
      libvirt.management_network_keep = true
      libvirt.storage :file, :path => "{seed}", :type => "raw", :bus => "virtio",
        :device => "vdb", :allow_existing => true
    end
  end
"""


class Vagrant(Hand):
    """Machines of one file, whose box is the image. Micro has no SSH, for which it would wait in vain."""

    tool = "vagrant"
    images: Sequence[str] = ("debian",)

    def version(self) -> str:
        """Of both."""
        shown = self._stage.run("dpkg-query", "-W", "-f", "${Package} ${Version}, ", "vagrant", "vagrant-libvirt")
        self._stage.run("vagrant", "--version")
        return shown.strip(", ").removeprefix("vagrant ")

    def set_up(self, image: str, machines: int) -> None:
        """See Peer."""
        self._image = image
        self._seats = [self._stage.seat(self.tool, number) for number in range(machines)]
        place = self._stage.pool / "vagrant"
        place.mkdir()
        pool = place / "pool"
        pool.mkdir()
        for seat in self._seats:
            self._stage.seed(seat, image)
            shutil.copyfile(seat.seed, pool / seat.seed.name)
        (place / "pool.xml").write_text(POOL_XML.format(name=self.tool, path=pool))
        self._stage.lab.virsh("pool-define", str(place / "pool.xml"))
        self._stage.lab.virsh("pool-start", self.tool)
        made = [
            _MACHINE.format(
                name=seat.name,
                cpu=CPU,
                machine=MACHINE,
                memory_mib=MEMORY_MIB[image],
                network=NETWORK,
                mac=seat.mac,
                seed=seat.seed.name,
            )
            for seat in self._seats
        ]
        box = place / "peers.box"
        (place / "metadata.json").write_text(
            json.dumps({"provider": "libvirt", "format": "qcow2", "virtual_size": 3})
        )
        (place / "of-box").write_text('Vagrant.configure("2") do |config|\nend\n')
        with tarfile.open(box, "w") as tar:
            tar.add(place / "metadata.json", "metadata.json")
            tar.add(place / "of-box", "Vagrantfile")
            tar.add(self._stage.base(image), "box.img")
        self._vagrant("box", "add", "--force", "--name", _BOX, str(box))
        (place / "Vagrantfile").write_text(_FILE.format(box=_BOX, machines="".join(made)))
        self._up()

    def reset(self, numbers: Sequence[int]) -> None:
        """Destroy and up."""
        self._vagrant("destroy", "--force", *(self._seats[number].name for number in numbers))
        self._up()

    def remove(self) -> None:
        """See Peer."""
        if self._seats:
            self._vagrant("destroy", "--force", check=False)
            for verb in ("pool-destroy", "pool-undefine"):
                self._stage.lab.host.run(["virsh", verb, self.tool], check=False)
        super().remove()

    def _up(self) -> None:
        self._vagrant("up", "--no-provision", "--no-tty", "--no-color")

    def _vagrant(self, *words: str, check: bool = True) -> None:
        place = self._stage.pool / "vagrant"
        settings = {
            "VAGRANT_HOME": str(place / "home"),
            "VAGRANT_CWD": str(place),
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "VAGRANT_BOX_UPDATE_CHECK_DISABLE": "1",
            "VAGRANT_DEFAULT_PROVIDER": "libvirt",
            "HOME": str(place),
        }
        command = ["env", *(f"{key}={value}" for key, value in settings.items()), "vagrant", *words]
        HOST.run(command, check=check, timeout_s=_UP_S if words[0] == "up" else 10 * COMMAND_S)
