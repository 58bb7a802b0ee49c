#!/bin/bash
# One job of GitHub Actions on a machine of its own:
#   vmrole lease ci --for 6h -- /usr/local/lib/vmrole-github/one-job.sh OWNER/REPOSITORY USER LABEL…
# The guest has the runner unpacked in ~USER/actions-runner. Its configuration is good for one job.
set -euo pipefail

repository=${1:?OWNER/REPOSITORY} user=${2:?USER}
shift 2
instance=${VMROLE_INSTANCE:?this is for vmrole lease to call}
GH_TOKEN=$(cat "${GITHUB_TOKEN_FILE:-/etc/vmrole-github/token}")
export GH_TOKEN

labels=()
for label in self-hosted "$@"; do labels+=(-f "labels[]=$label"); done
config=$(gh api --method POST "repos/$repository/actions/runners/generate-jitconfig" \
    -f "name=${VMROLE_HOSTNAME:?}-${VMROLE_LEASE:?}" -F runner_group_id=1 "${labels[@]}" --jq .encoded_jit_config)
unset GH_TOKEN    # It is not for the guest, nor for ssh.

# By standard input: what stands in a command line, everybody on the host can read.
vmrole ssh --user "$user" "$instance" \
    'read -r ACTIONS_RUNNER_INPUT_JITCONFIG; export ACTIONS_RUNNER_INPUT_JITCONFIG; cd actions-runner && exec ./run.sh' \
    <<< "$config"
