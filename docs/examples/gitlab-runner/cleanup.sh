#!/bin/bash
# Stage "cleanup" of GitLab Runner's custom executor: gives the instance back, which is made anew.
# Where this is never called, because the runner has died, the lease ends by its time.
set -euo pipefail

lease=${VMROLE_CI_LEASES:-/run/vmrole-ci}/${CUSTOM_ENV_CI_JOB_ID:?this is for gitlab-runner to call}
[ -e "$lease" ] || exit 0    # It has never got one.
id=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["id"])' "$lease")
status=0
vmrole lease end "$id" || status=$?
[ "$status" -eq 0 ] || [ "$status" -eq 3 ] || exit "$status"    # 3: it has ended by itself.
rm -f "$lease"
