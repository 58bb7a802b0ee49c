# Part of vmrole's answers; cloud-init runs it as the condition of power_state, when all else of setup has ended.
# Status 0 restarts the guest, 1 lets it go on.
: "${restart:?}" # set by a line that is put before these
state=/var/lib/vmrole
whole() { if [ -s "$1" ]; then cat "$1"; else printf null; fi; }
{
    printf '{"result":'
    whole /run/cloud-init/result.json
    printf ',"status":'
    whole /run/cloud-init/status.json
    printf ',"problems":['
    if [ -s "$state/setup-problems" ]; then sed 's/.*/"&"/' "$state/setup-problems" | paste -s -d ,; fi
    printf ']}\n'
} >"$state/.setup-result.json"
sync "$state/.setup-result.json"
mv "$state/.setup-result.json" "$state/setup-result.json"
sync "$state"
[ "$restart" = yes ]
