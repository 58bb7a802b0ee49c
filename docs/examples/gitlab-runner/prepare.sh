#!/bin/bash
# Stage "prepare" of GitLab Runner's custom executor: prepare.sh SERVICE [ROLE]
# Waits in vmrole's queue for an instance, for as long as the job may run and five minutes.
set -euo pipefail

job=${CUSTOM_ENV_CI_JOB_ID:?this is for gitlab-runner to call}
case $job in *[!0-9]*) echo "CI_JOB_ID is no number" >&2; exit "${SYSTEM_FAILURE_EXIT_CODE:-2}" ;; esac
seconds=${CUSTOM_ENV_CI_JOB_TIMEOUT:-3600}
case $seconds in *[!0-9]*) seconds=3600 ;; esac
leases=${VMROLE_CI_LEASES:-/run/vmrole-ci}

umask 077
mkdir -p "$leases"
echo "Waiting for a machine of ${1:?SERVICE} …"
vmrole lease take "$1" ${2:+--role "$2"} --for "$((seconds + 300))s" --json > "$leases/$job.new" &
waiting=$!
trap 'kill "$waiting" 2> /dev/null || true' TERM INT HUP   # The job was cancelled: its place is another's.
if ! wait "$waiting"; then
    rm -f "$leases/$job.new"
    exit "${SYSTEM_FAILURE_EXIT_CODE:-2}"
fi
mv "$leases/$job.new" "$leases/$job"
python3 -c 'import json, sys; lease = json.load(open(sys.argv[1])); print("This job has", lease["instance"])' "$leases/$job"
