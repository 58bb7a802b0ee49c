#!/bin/bash
# Stage "run" of GitLab Runner's custom executor: run.sh USER SCRIPT STAGE
# Runs what gitlab-runner has written, in the guest, by ssh: its output comes as it is printed.
set -euo pipefail

user=${1:?USER} script=${2:?SCRIPT}
lease=${VMROLE_CI_LEASES:-/run/vmrole-ci}/${CUSTOM_ENV_CI_JOB_ID:?this is for gitlab-runner to call}
instance=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["instance"])' "$lease")

status=0
vmrole ssh --user "$user" "$instance" /bin/bash -l < "$script" || status=$?
case $status in
    0) ;;
    255) echo "ssh to $instance has failed" >&2; exit "${SYSTEM_FAILURE_EXIT_CODE:-2}" ;;
    *)
        if [ -n "${BUILD_EXIT_CODE_FILE:-}" ]; then echo "$status" > "$BUILD_EXIT_CODE_FILE"; fi
        exit "${BUILD_FAILURE_EXIT_CODE:-1}"
        ;;
esac
