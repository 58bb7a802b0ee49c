#!/bin/bash
# Makes a machine of the lab a host of vmrole: `vagrant up` runs it there as root, and `vagrant provision` again at any
# time. What it installs and applies has been put beside it by the Vagrantfile.
#
#   guest.sh ADDRESS POOL INSTANCES   the machine's address in the lab, the network of its virtual addresses, and how
#                                     many instances the service gets; with 0 none is applied
set -euo pipefail

readonly address=$1 pool=$2 instances=$3
readonly package=/tmp/vmrole.deb image=/tmp/micro.qcow2 file=/home/vagrant/shop.yaml
readonly answers=/etc/vmrole/conf.d/50-host.toml
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

say() { printf 'guest: %s\n' "$*"; }

install_package() {
  say "installing the package"
  local -a install=(apt-get -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends --allow-downgrades install "$package")
  # Our own box has all that it depends on, and needs no archive.
  "${install[@]}" || { apt-get -q update && "${install[@]}"; }
}

settings() {
  [ ! -e "$answers" ] || return 0
  local link
  link=$(ip -o -4 address show to "$address" | awk '{print $2}')
  say "virtual addresses: $pool, on ${link:?no interface has the address $address}"
  vmrole init --config "$answers" --vip-interface "$link" --vip-pool "$pool"
}

start() {
  say "starting libvirt and the daemon, which boots a guest first to know whether KVM works"
  systemctl disable --quiet --now haproxy # the distribution's: the daemon runs one itself
  systemctl enable --quiet --now libvirtd
  systemctl enable --quiet --now vmrole
  usermod -aG vmrole vagrant
}

service() {
  [ "$instances" != 0 ] || return 0
  vmrole get images -o name | grep -x micro >/dev/null || vmrole image add "$image" --name micro
  sed -i "s/instances: [0-9]*/instances: $instances/" "$file"
  vmrole apply -f "$file" --wait --timeout 2h
  vmrole get instances
}

install_package
settings
start
service
