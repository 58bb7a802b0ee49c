#!/bin/bash
# Builds the Debian package for the distribution that this runs on, as anybody, into build/deb or the directory that is
# named. `vagrant/provision.sh package` installs what it takes; `make deb` does both.
#
# The package holds a virtual environment at /usr/lib/vmrole with what requirements.lock lists, every file by its hash.
# libvirt's binding is compiled here, against the libvirt of this distribution, and the environment is for its Python:
# each release of a distribution has a package of its own, and a newer release's is a newer version.
set -euo pipefail

cd "$(dirname "$0")/../.."
umask 022
readonly PYTHON=/usr/bin/python3 PLACE=/usr/lib/vmrole PARTS=vagrant/deb
readonly OUT=${1:-build/deb}
export LC_ALL=C.UTF-8

say() { printf 'deb: %s\n' "$*"; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
readonly root=$work/root tools=$work/tools wheels=$work/wheels
readonly inside=$root$PLACE/bin/python3

version_of_package() {
  local upstream distribution
  upstream=$("$PYTHON" -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')
  distribution=$(sed -n -E 's/^(ID|VERSION_ID)="?([^"]*)"?$/\1 \2/p' /etc/os-release | sort | cut -d' ' -f2 | paste -sd '')
  printf '%s-%s+%s\n' "$upstream" "${DEB_REVISION:-1}" "$distribution"
}

# No cache: of pip's wheels, one of libvirt's binding may have been built against another libvirt.
fetch_wheels() {
  say "fetching and building what requirements.lock lists, with $("$PYTHON" --version)"
  "$PYTHON" -m venv "$tools"
  local -a pip=("$tools/bin/python" -m pip --disable-pip-version-check --quiet --no-cache-dir)
  "${pip[@]}" install --require-hashes --only-binary :all: --requirement requirements-build.lock
  "${pip[@]}" wheel --require-hashes --no-build-isolation --requirement requirements.lock --wheel-dir "$wheels"
  "${pip[@]}" wheel --no-deps --no-build-isolation --no-index --wheel-dir "$wheels" .
}

# A virtual environment knows where it stands: what names our temporary directory is written anew or left out.
virtual_environment() {
  say "installing it all to stand at $PLACE"
  "$PYTHON" -m venv --without-pip "$root$PLACE"
  "$tools/bin/python" -m pip --disable-pip-version-check --quiet --python "$inside" \
    install --no-index --no-deps --no-compile "$wheels"/*.whl
  (cd "$root$PLACE" && rm -rf bin include share lib64 pyvenv.cfg && mkdir bin)
  ln -s "$PYTHON" "$inside"
  "$PYTHON" -c 'import platform; print(f"home = /usr/bin\nversion = {platform.python_version()}")' \
    >"$root$PLACE/pyvenv.cfg"
  command_of vmrole main
  command_of vmroled daemon
  find "$root" -name direct_url.json -delete
  find "$root" -name 'libvirt*.so' -exec strip --strip-unneeded {} +
}

# -I: neither the environment of who calls it nor his directory lends a module to what may run as root.
command_of() {
  printf '#!%s/bin/python3 -I\nimport sys\n\nfrom orchestrator.cli.main import %s\n\nsys.exit(%s())\n' "$PLACE" "$2" "$2" \
    >"$root$PLACE/bin/$1"
  chmod 0755 "$root$PLACE/bin/$1"
}

other_files() {
  install -d "$root"/usr/{bin,sbin} "$root/etc/vmrole"
  ln -s "$PLACE/bin/vmrole" "$root/usr/bin/vmrole"
  ln -s "$PLACE/bin/vmroled" "$root/usr/sbin/vmroled"
  install -D -m 0644 docs/examples/vmrole.toml "$root/etc/vmrole/vmrole.toml"
  install -d -m 0700 "$root/etc/vmrole/secrets"
  install -D -m 0644 "$PARTS/sysusers.conf" "$root/usr/lib/sysusers.d/vmrole.conf"
  install -D -m 0644 "$PARTS/tmpfiles.conf" "$root/usr/lib/tmpfiles.d/vmrole.conf"

  local unit units=/usr/lib/systemd/system
  install -d "$root$units"
  for unit in vmrole.service vmrole.socket vmrole-read.socket; do
    sed -e "s#^ExecStart=.*#ExecStart=/usr/sbin/vmroled#" -e "1s#^\# [^:]*:#\# $units/$unit:#" "docs/examples/$unit" \
      >"$root$units/$unit"
  done

  "$inside" -I -B -m orchestrator.cli.manual "$root/usr"
  find "$root/usr/share/man" -type f -exec gzip -9n {} +
  mv "$root/usr/share/zsh/site-functions" "$root/usr/share/zsh/vendor-completions" # where Debian's zsh looks

  local papers=$root/usr/share/doc/vmrole
  install -D -m 0644 -t "$papers" README.md SECURITY.md SPECIFICATION.md "$PARTS/Containerfile"
  install -D -m 0644 -t "$papers/docs" docs/*.md docs/*.json
  find docs/examples -type f ! -perm -u=x -exec install -D -m 0644 {} "$papers/{}" \;
  find docs/examples -type f -perm -u=x -exec install -D -m 0755 {} "$papers/{}" \;
  install -m 0644 "$PARTS/copyright" "$papers/copyright"
  gzip -9n <CHANGELOG.md >"$papers/changelog.gz"
}

# Compiled here: no later run writes below /usr, and a removal leaves nothing. It goes by times, so these come first.
compile() {
  find "$root" -depth -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
  "$inside" -I -m compileall -q --invalidation-mode timestamp -s "$root" -p / "$root$PLACE/lib"
}

shared_libraries() {
  install -d "$work/debian"
  printf 'Source: vmrole\n\nPackage: vmrole\nArchitecture: any\n' >"$work/debian/control"
  local -a objects
  mapfile -t objects < <(find "$root$PLACE" -name '*.so')
  # It warns of each that it is in no package yet.
  if ! (cd "$work" && dpkg-shlibdeps -O "${objects[@]}" >needs 2>warnings); then cat "$work/warnings" >&2; fi
  sed -n 's/^shlibs:Depends=//p' "$work/needs"
}

comma_separated() { paste -sd, | sed 's/,/, /g'; }

control() {
  local this next needs recipes libraries
  read -r this next < <("$PYTHON" -c 'import sys; a, b = sys.version_info[:2]; print(f"{a}.{b} {a}.{b + 1}")')
  needs=$(vagrant/provision.sh list runtime | grep -vx python3 | comma_separated)
  recipes=$(vagrant/provision.sh list recipes | comma_separated)
  libraries=$(shared_libraries)
  case $libraries in *libvirt0*) ;; *) say "libvirt's binding asks for no libvirt: '$libraries'" >&2; exit 1 ;; esac
  install -d "$root/DEBIAN"
  sed -e "s|@VERSION@|$version|" -e "s|@ARCHITECTURE@|$(dpkg --print-architecture)|" \
    -e "s|@SIZE@|$(du -sk --apparent-size "$root" | cut -f1)|" \
    -e "s|@MAINTAINER@|${DEBFULLNAME:-vmrole} <${DEBEMAIL:-root@localhost}>|" \
    -e "s#@DEPENDS@#python3 (>= $this), python3 (<< $next), passwd, $libraries, $needs#" \
    -e "s#@RECOMMENDS@#$recipes#" "$PARTS/control" >"$root/DEBIAN/control"
  printf '/etc/vmrole/vmrole.toml\n' >"$root/DEBIAN/conffiles"
  (cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) \
    >"$root/DEBIAN/md5sums"
  install -m 0755 -t "$root/DEBIAN" "$PARTS"/{postinst,prerm,postrm}
}

version=$(version_of_package)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(stat -c %Y CHANGELOG.md)}
export SOURCE_DATE_EPOCH # dpkg-deb goes by it, too
fetch_wheels
virtual_environment
other_files
compile
control
mkdir -p "$OUT"
dpkg-deb --root-owner-group --build "$root" "$OUT" >/dev/null
cp "$wheels"/vmrole-*.whl "$OUT"
say "made $OUT/vmrole_${version}_$(dpkg --print-architecture).deb and the wheel beside it"
