# Part of vmrole's answers: a path of the role's own leads to each of its drives, which are mounted below /local.
# It runs before everything that the user brought, at every boot that cloud-init sees, and changes nothing twice.
: "${places:?}" # set by a line that is put before these
set -u
PATH=/usr/sbin:/usr/bin:/sbin:/bin
failed=0
for each in $places; do
    target=/local/${each%%:*} place=${each#*:}
    [ "$(readlink "$place")" != "$target" ] || continue
    mkdir -p "${place%/*}/"
    rmdir "$place" 2>/dev/null # An empty directory is in nobody's way.
    if [ -e "$place" ] || [ -L "$place" ] || ! ln -s "$target" "$place"; then
        echo "vmrole: $place cannot lead to $target" >&2
        echo "$place cannot lead to $target: something is there already" >>/var/lib/vmrole/setup-problems
        failed=1
    fi
done
exit "$failed"
