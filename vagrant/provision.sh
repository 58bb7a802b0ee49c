#!/bin/bash
# Prepares a host for vmrole: Debian 12 or newer, Ubuntu 24.04 or newer; as root or as a user who may use sudo.
#
#   vagrant/provision.sh host      what a host needs to run vmrole and to build its base images
#   vagrant/provision.sh develop   and what the tests and the demo need (the default)
#   vagrant/provision.sh package   what builds the Debian package, and nothing else
#   vagrant/provision.sh vagrant   Vagrant with its provider for libvirt, where the distribution has them, and nothing else
#   vagrant/provision.sh peers     the tools that `make bench-peers` measures beside vmrole, and nothing else
#   vagrant/provision.sh list runtime|recipes|build|develop|package|vagrant|peers   names of packages, one a line; installs nothing
#
# It says what it does, installs only what is missing, and may be run again at any time: with nothing to do it takes
# well under a second. It starts no service and needs no systemd. The Makefile and the Vagrant lab call it.
set -euo pipefail

cd "$(dirname "$0")/.."
readonly VENV=.venv BUILD_LOCK=requirements-build.lock
readonly KCLI=build/peers/kcli KCLI_LOCK=tests/bench/peers/kcli.lock
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

say() { printf 'provision: %s\n' "$*"; }
die() { printf 'provision: %s\n' "$*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  else
    command -v sudo >/dev/null || die "packages must be installed as root, and there is no sudo"
    sudo --preserve-env=DEBIAN_FRONTEND "$@"
  fi
}

# package: why it is needed. The Debian package depends on what stands here, and recommends the recipes' tools. Of
# alternatives (a | b (<< version)) one is enough, in dpkg's words: which there are is for the distribution to say.
runtime_packages() {
  cat <<'END'
libvirt-daemon-system: libvirtd, which runs the virtual machines
libvirt-daemon-driver-qemu: its driver for QEMU
libvirt-clients: virsh, to look from outside at what vmrole does
qemu-system-x86: the machines themselves
qemu-utils: qemu-img, which inspects images and lays overlays
ovmf: UEFI, for images that start with it
swtpm: a TPM for each instance whose image wants one
swtpm-tools: makes a new TPM's keys
haproxy: the load balancer behind a virtual IP
nftables: keeps guests to their own addresses
iptables: what libvirt itself makes NAT with
dnsmasq-base: DHCP and names in a service's network, run by libvirt
util-linux: prlimit and unshare, within which images are read; setpriv, by which doctor tries to be QEMU's user
virtiofsd | qemu-system-common (<< 1:8): serves shares; Debian 12's QEMU has it
openssh-client: ssh-keygen, for instances that keep their SSH host keys
iproute2: adds and removes the virtual IP's address
python3: vmrole is written in it
END
}

build_packages() {
  cat <<'END'
python3-venv: the virtual environment that it runs in
python3-dev: builds libvirt's Python binding, which has no binary release
libvirt-dev: builds libvirt's Python binding, which has no binary release
gcc: builds libvirt's Python binding, which has no binary release
libc6-dev: builds libvirt's Python binding, which has no binary release
pkg-config: builds libvirt's Python binding, which has no binary release
ca-certificates: to fetch the locked Python packages
END
}

recipe_packages() {
  cat <<'END'
mmdebstrap: image recipes: a Debian file system from packages
busybox-static: image recipes: the user land of the micro image
cpio: image recipes: initial RAM file systems
e2fsprogs: image recipes: file systems without mounting them
fdisk: image recipes: partition tables
grub-pc-bin: image recipes: the boot loader for plain BIOS
grub-common: image recipes: grub-mkimage
zstd: image recipes: compressed kernels, modules and packages
xz-utils: image recipes: compressed kernels, modules and packages
debian-archive-keyring: image recipes: on Ubuntu, the keys of Debian's archive
END
}

host_packages() { runtime_packages; build_packages; recipe_packages; }

package_packages() {
  cat <<'END'
dpkg-dev: dpkg-shlibdeps, which says what libraries a package needs
binutils: strip
END
}

vagrant_packages() {
  cat <<'END'
vagrant: the lab of virtual hosts
vagrant-libvirt: its provider for libvirt
curl: asks the lab's services from outside
END
}

peers_packages() {
  cat <<'END'
virtinst: a peer in the comparison: virt-install
vagrant: a peer in the comparison
vagrant-libvirt: its provider for libvirt
ganeti: a peer in the comparison; none of its daemons is started here
genisoimage: writes the guests' answers, and kcli's
END
}

develop_packages() {
  cat <<'END'
make: runs the demo and the tests
git: the style tests ask it which files are ours
systemd: systemd-analyze judges the example of a unit; nothing of it is started
python3-seccomp: the daemon is run with the system calls that its unit leaves it
genisoimage: isoinfo, the tests' second opinion on answer discs
libarchive-tools: bsdtar, their third
libxml2-utils: xmllint, the tests' second opinion on domain XML
iputils-ping: reachability in the tests
procps: what runs, for people who look into a lab
wrk: the load of the benchmarks
shellcheck: style of the shell scripts
groff-base: groff prints the manual pages in the tests
cloud-init: reads our answer files in the tests; made inert on this host before it comes
END
}

# libvirt confines each QEMU by what stands in its domain XML; our monitor socket stands on the command line. libvirt
# itself may be confined, and runs no program in our state directory, such as the one that serves shares. The rule of
# former versions let each VM's QEMU reach the monitors of all others, and goes.
apparmor_rules() {
  local place=/etc/apparmor.d/local/abstractions/libvirt-qemu former='/run/vmrole/monitors/*.sock rw,' daemon
  if grep -qsxF "$former" "$place"; then
    say "removing the rule of former versions from $place"
    as_root sed -i '\|^/run/vmrole/monitors/\*\.sock rw,$|d' "$place"
  fi
  allow abstractions/libvirt-qemu '/run/vmrole/monitor.sock rw,'
  for daemon in libvirtd virtqemud; do allow "usr.sbin.$daemon" '/var/lib/vmrole/serve-share PUx,'; done
}

allow() {
  local profile=/etc/apparmor.d/$1 place=/etc/apparmor.d/local/$1
  [ -e "$profile" ] || return 0
  if grep -qsxF "$2" "$place"; then return 0; fi
  say "adding to libvirt's AppArmor profile what it lacks: $2 in $place"
  as_root mkdir -p "${place%/*}"
  printf '%s\n' "$2" | as_root tee -a "$place" >/dev/null
  # Of an abstraction each new profile of a VM is made. A daemon's own is in force already, and is read anew.
  if [[ $1 = usr.sbin.* ]] && aa-enabled --quiet 2>/dev/null; then as_root apparmor_parser --replace "$profile"; fi
}

# Members of vmrole may use the daemon's socket, those of vmrole-read may look. Who belongs to them is for the host's
# owner to say, and what is in the directory of secrets as well.
groups() {
  local name
  for name in vmrole vmrole-read; do
    if getent group "$name" >/dev/null; then continue; fi
    say "making the system group $name, without members"
    as_root groupadd --system "$name"
  done
}

secrets_directory() {
  if [ -e /etc/vmrole/secrets ]; then return 0; fi
  say "making /etc/vmrole/secrets, for root alone: service files name what is in it {secret: NAME}"
  as_root install -d -m 0755 /etc/vmrole
  as_root install -d -m 0700 /etc/vmrole/secrets
}

# Of the named packages and alternatives those that are not installed, a line each.
missing_of() {
  local -A installed=()
  local -a named=() alternatives=()
  local name version status relation one
  mapfile -t named < <(printf '%s\n' "$@" | tr '|' '\n' | sed -E 's/^ +//; s/ .*//')
  while read -r status name version; do
    if [[ $status = ?i ]]; then installed[$name]=$version; fi
  done < <(dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\n' "${named[@]}" 2>/dev/null)
  for relation in "$@"; do
    IFS='|' read -r -a alternatives <<<"$relation"
    for one in "${alternatives[@]}"; do
      read -r name version <<<"$one"
      if is_met "${installed[$name]:-}" "$version"; then continue 2; fi
    done
    printf '%s\n' "$relation"
  done
}

# Whether an installed version, "" for none, is what "" or "(<< VERSION)" asks for.
is_met() {
  local than
  [ -n "$1" ] || return 1
  [ -n "$2" ] || return 0
  IFS='() ' read -r _ than _ <<<"${2#(}"
  dpkg --compare-versions "$1" lt "$than"
}

apt_install() {
  local list=$1 line name
  local -A reasons=()
  local -a names=() missing=()
  while IFS= read -r line; do
    names+=("${line%%: *}")
    reasons[${line%%: *}]=${line#*: }
  done <<<"$list"
  mapfile -t missing < <(missing_of "${names[@]}")
  if [ ${#missing[@]} = 0 ]; then
    say "${#names[@]} Debian packages: all there"
    return
  fi
  say "installing ${#missing[@]} of ${#names[@]} Debian packages with apt-get:"
  for name in "${missing[@]}"; do
    say "  $name (${reasons[$name]})"
  done
  # Where cloud-init was not, it must never run: this file is its documented switch, read at every boot.
  if [[ " ${missing[*]} " == *" cloud-init "* ]] && [ ! -e /etc/cloud/cloud-init.disabled ]; then
    say "switching cloud-init off on this host: /etc/cloud/cloud-init.disabled"
    as_root mkdir -p /etc/cloud
    as_root touch /etc/cloud/cloud-init.disabled
  fi
  # A policy of "no" (101) keeps package scripts from starting daemons here: libvirtd would make a bridge and NAT
  # rules in the user's network unasked. One that is already there is somebody's choice and stays.
  local policy=/usr/sbin/policy-rc.d ours=no status=0
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 0755 "$policy"
    ours=yes
  fi
  { as_root apt-get -q update &&
    as_root apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 satisfy "${missing[@]}"; } || status=$?
  [ "$ours" = no ] || as_root rm -f "$policy"
  [ "$status" = 0 ] || die "apt-get failed with status $status"
}

# Ubuntu 22.04 stops here, before anything is installed: its HAProxy (2.4) is too old as well.
check_python() {
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "vmrole needs Python 3.11 (Debian 12, Ubuntu 24.04 or newer); this is $(python3 --version)"
}

# By the lock that is named. What comes as sources is built by what has been installed by its hash, and by nothing else.
virtual_environment() {
  local lock=$1 stamp
  check_python
  stamp=$(python3 --version; pwd; sha256sum "$BUILD_LOCK" "$lock" pyproject.toml)
  if [ -x "$VENV/bin/vmrole" ] && [ "$stamp" = "$(cat "$VENV/provisioned" 2>/dev/null)" ]; then
    say "virtual environment $VENV: up to date with $lock"
    return
  fi
  say "making the virtual environment $VENV with $(python3 --version) from $lock, every package by its hash"
  python3 -m venv --clear "$VENV" # so that nothing is in it that the lock does not list
  local -a pip=("$VENV/bin/python" -m pip --disable-pip-version-check --quiet)
  "${pip[@]}" install --require-hashes --only-binary :all: --requirement "$BUILD_LOCK"
  "${pip[@]}" install --require-hashes --no-build-isolation --requirement "$lock"
  say "installing vmrole itself, editable"
  "${pip[@]}" install --no-deps --no-build-isolation --no-index --editable .
  printf '%s\n' "$stamp" >"$VENV/provisioned"
}

# kcli comes from PyPI alone, and into an environment of its own: it brings another libvirt-python.
kcli() {
  local stamp
  stamp=$(python3 --version; pwd; sha256sum "$KCLI_LOCK")
  if [ -x "$KCLI/bin/kcli" ] && [ "$stamp" = "$(cat "$KCLI/provisioned" 2>/dev/null)" ]; then
    say "kcli in $KCLI: up to date with $KCLI_LOCK"
    return
  fi
  say "installing kcli into $KCLI from $KCLI_LOCK, every package by its hash"
  python3 -m venv --clear "$KCLI"
  "$KCLI/bin/python" -m pip --disable-pip-version-check --quiet install --require-hashes --requirement "$KCLI_LOCK"
  printf '%s\n' "$stamp" >"$KCLI/provisioned"
}

# What is not to be had here is told, and the others are measured without it.
peers() {
  local package
  while IFS= read -r package; do
    (apt_install "$package") || say "not to be had here: ${package%%:*}; it will be missing in the table"
  done < <(peers_packages)
  (kcli) || say "not to be had here: kcli; it will be missing in the table"
}

main() {
  local lock=requirements-dev.lock
  if [ "${1:-}" = list ]; then
    case ${2:-} in
      runtime | recipes | build | develop | package | vagrant | peers) "${2/recipes/recipe}_packages" | sed 's/: .*//' ;;
      *) die "say which: runtime, recipes, build, develop, package, vagrant or peers" ;;
    esac
    return
  fi
  command -v apt-get >/dev/null || die "this script knows Debian and Ubuntu only: there is no apt-get here"
  ! command -v python3 >/dev/null || check_python
  case ${1:-develop} in
    host)
      apt_install "$(host_packages)"
      groups
      secrets_directory
      lock=requirements.lock
      ;;
    develop) apt_install "$(host_packages; develop_packages)" ;;
    package)
      apt_install "python3: vmrole is written in it
$(build_packages; package_packages)"
      return
      ;;
    vagrant)
      apt_install "$(vagrant_packages)"
      return
      ;;
    peers)
      peers
      return
      ;;
    *) die "say 'host', 'develop', 'package', 'vagrant' or 'peers'" ;;
  esac
  apparmor_rules
  virtual_environment "$lock"
}

main "$@"
