#!/usr/bin/env bash
# Creates a TPU VM slice (or several) as a queued resource NAME, runs launch.py on it, and deletes it.
#
#   launch/tpu_vm/tpu.sh create  --name NAME --zone ZONE --accelerator v5litepod-256 [--slices N] [--spot]
#   launch/tpu_vm/tpu.sh install --name NAME --zone ZONE
#   launch/tpu_vm/tpu.sh ssh     --name NAME --zone ZONE -- COMMAND
#   launch/tpu_vm/tpu.sh run     --name NAME --zone ZONE [--max-restarts N] -- --config FILE --workdir DIR ...
#   launch/tpu_vm/tpu.sh status  --name NAME --zone ZONE
#   launch/tpu_vm/tpu.sh stop    --name NAME --zone ZONE
#
# create   waits until the slice is ready
# install  copies the last commit of this clone to all workers, with a Python of its own
# ssh      runs a command on all workers, such as one that mounts the disk or bucket of DIR, which all must share;
#          with several slices ssh cannot ask for a passphrase: run ssh-add before
# run      runs launch.py on all workers and restarts it, at most N times (default: 20), until it is done; exit statuses
#          1 (an error to mend, or any failure before the first training step) and 2 (wrong arguments) end it (see
#          docs/guides/hosts.md, section "Exit statuses"). Ctrl-C leaves launch.py running on the workers: the next run
#          stops it first and resumes from its checkpoint
# status   prints the state of the slice
# stop     deletes the slice
#
# ACCELERATOR is v5litepod-N or v6e-N of N chips (v5e:16x16 is v5litepod-256), or v5p-N of N/2 chips. All commands take
# --project PROJECT (default: gcloud's) and --dry-run, which only prints the gcloud commands.
set -uo pipefail

usage() {
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0"
}

fail() {
  echo "tpu.sh: $1" >&2
  exit 2
}

command=${1:-}
case $command in
  create | install | ssh | run | status | stop) shift ;;
  -h | --help)
    usage
    exit 0
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac

name='' zone='' project='' accelerator='' runtime='' slices=1 spot=false dry=false max_restarts=20
rest=()
while (($#)); do
  option=$1
  shift
  case $option in
    --) rest=("$@") && break ;;
    --spot) spot=true && continue ;;
    --dry-run) dry=true && continue ;;
    --name | --zone | --project | --accelerator | --runtime | --slices | --max-restarts) ;;
    *) fail "unknown argument '$option'; arguments of launch.py or of the workers follow --" ;;
  esac
  (($#)) || fail "$option has no value"
  case $option in
    --name) name=$1 ;;
    --zone) zone=$1 ;;
    --project) project=$1 ;;
    --accelerator) accelerator=$1 ;;
    --runtime) runtime=$1 ;;
    --slices) slices=$1 ;;
    --max-restarts) max_restarts=$1 ;;
  esac
  shift
done

[[ $name =~ ^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$ ]] || fail "--name '$name': expected lower-case letters, digits and hyphens"
[[ $zone =~ ^[a-z]+-[a-z0-9]+-[a-z]$ ]] || fail "--zone '$zone': expected a zone, such as us-west4-a"
[[ -z $project || $project =~ ^[a-z0-9.:-]+$ ]] || fail "--project '$project': expected a project's id"
[[ $slices =~ ^[1-9][0-9]{0,2}$ ]] || fail "--slices '$slices': expected a number from 1 to 999"
[[ $max_restarts =~ ^[0-9]{1,5}$ ]] || fail "--max-restarts '$max_restarts': expected a number"
place=("--zone=$zone")
if [[ -n $project ]]; then
  place+=("--project=$project")
fi

run() {
  if $dry; then
    printf '%q ' "$@" | sed 's/ $//'
    echo
  else
    "$@"
  fi
}

tpus() {
  run gcloud compute tpus queued-resources "$@" "${place[@]}"
}

on_all() {
  tpus ssh "$name" --node=all --worker=all "--command=$1"
}

# Runs a command on all workers with one ssh per slice: a single ssh starts it on 64 workers at a time only, and the
# processes of a job wait for each other. Returns the most telling status: a user error, a stop, else the first that is
# not 0.
on_each_slice() {
  local names count=$slices slice ended status=0 started=()
  if ! $dry; then
    names=$(tpus describe "$name" '--format=value(tpu.nodeSpec[].nodeId)') || return
    count=$(tr ';' '\n' <<< "$names" | grep -c .)
    ((count)) || return 1
  fi
  if ((count == 1)); then # in the foreground, where it may ask for a passphrase
    tpus ssh "$name" --node=0 --worker=all "--command=$1"
    return
  fi
  set -m # each job is its own process group, which the trap signals
  for slice in INT:130 TERM:143 HUP:129; do
    # shellcheck disable=SC2064  # the expansion of now
    trap "kill -${slice%:*} -- \"\${started[@]/#/-}\" 2> /dev/null; exit ${slice#*:}" "${slice%:*}"
  done
  for ((slice = 0; slice < count; slice++)); do
    if $dry; then
      tpus ssh "$name" "--node=$slice" --worker=all "--command=$1"
    else
      tpus ssh "$name" "--node=$slice" --worker=all "--command=$1" < /dev/null &
      started+=($!)
    fi
  done
  for slice in "${started[@]}"; do
    wait -f "$slice"
    ended=$?
    case $ended,$status in
      101,* | 102,*) status=$ended ;;
      *,101 | *,102) ;;
      130,* | *,0) status=$ended ;;
    esac
  done
  trap - INT TERM HUP
  set +m
  return "$status"
}

state() {
  tpus describe "$name" '--format=value(state.state)'
}

create() {
  case $accelerator in
    v5litepod-*) runtime=${runtime:-v2-alpha-tpuv5-lite} ;;
    v5p-*) runtime=${runtime:-v2-alpha-tpuv5} ;;
    v6e-*) runtime=${runtime:-v2-alpha-tpuv6e} ;;
  esac
  [[ $accelerator =~ ^(v5litepod|v5p|v6e)-[1-9][0-9]*$ ]] ||
    fail "--accelerator '$accelerator': expected v5litepod-N, v5p-N or v6e-N, such as v5litepod-256"
  local most=256
  if [[ $accelerator == v5p-* ]]; then
    most=512
  fi
  ((${accelerator##*-} <= most)) ||
    fail "--accelerator '$accelerator': ssh reaches at most 64 hosts per slice, as ${accelerator%-*}-$most has; for more, \
see launch/gke"
  local options=("--accelerator-type=$accelerator" "--runtime-version=$runtime")
  if ((slices == 1)); then
    options+=("--node-id=$name")
  else
    options+=("--node-count=$slices" "--node-prefix=$name")
  fi
  if $spot; then
    options+=(--spot)
  fi
  tpus create "$name" "${options[@]}" || exit 1
  if $dry; then
    state
    return
  fi
  local now='' before=''
  while [[ $now != ACTIVE ]]; do
    now=$(state) || exit 1
    if [[ $now != "$before" ]]; then
      echo "$(date --iso-8601=seconds) $name: $now"
      before=$now
    fi
    case $now in
      ACTIVE) ;;
      FAILED | SUSPENDING | SUSPENDED | DELETING)
        echo "tpu.sh: the slice was not created: $name is $now; see: gcloud compute tpus queued-resources describe $name" >&2
        exit 1
        ;;
      *) sleep "${CAPJAX_POLL_SECONDS:-30}" ;;
    esac
  done
}

install() {
  local folder archive
  folder=$(cd "$(dirname "$0")/../.." && pwd)
  archive=$(mktemp -d)/capjax.tgz
  # shellcheck disable=SC2064  # the folder of now
  trap "rm -rf '$(dirname "$archive")'" EXIT
  run git -C "$folder" archive --format=tar.gz "--output=$archive" HEAD || exit 1
  tpus scp "$archive" "$name:capjax.tgz" --node=all --worker=all || exit 1
  # The workers' own Python is too old for capjax.
  local steps=(
    'mkdir -p capjax'
    'tar -xzf capjax.tgz -C capjax'
    'cd capjax'
    'python3 -m pip install --quiet --user uv'
    '../.local/bin/uv venv --quiet --allow-existing --python 3.11 .venv'
    '../.local/bin/uv pip install --quiet --python .venv/bin/python -e ".[tpu,tensorboard,gcs]"'
  )
  local all
  all=$(printf ' && %s' "${steps[@]}")
  on_all "${all# && }"
}

train() {
  local restarts=0 status now
  while true; do
    on_each_slice "bash capjax/launch/tpu_vm/worker.sh$(printf ' %q' "${rest[@]}")"
    status=$?
    if $dry; then
      return
    fi
    # worker.sh adds 100 to launch.py's 1 and 2, for gcloud itself exits with these, too.
    case $status in
      0 | 130) exit $status ;;
      101 | 102) exit $((status - 100)) ;;
    esac
    now=$(state)
    if [[ $now != ACTIVE ]]; then
      echo "tpu.sh: exit status $status, and $name is ${now:-unreachable}. Stop it, create and install it anew," \
        "and the same run resumes from its last checkpoint" >&2
      exit 75
    fi
    if ((++restarts > max_restarts)); then
      echo "tpu.sh: exit status $status after $max_restarts restarts: giving up" >&2
      exit "$status"
    fi
    echo "tpu.sh: exit status $status; restart $restarts of $max_restarts at most"
    sleep "${CAPJAX_POLL_SECONDS:-30}"
  done
}

case $command in
  create) create ;;
  install) install ;;
  ssh)
    ((${#rest[@]})) || fail "no command after --"
    on_all "${rest[*]}"
    ;;
  run)
    [[ " ${rest[*]} " == *" --workdir"[=\ ]* ]] || fail "the arguments of launch.py follow --; --workdir is missing"
    train
    ;;
  status) state ;;
  stop) tpus delete "$name" --force --quiet ;;
esac
