#!/usr/bin/env bash
# Runs launch.py with the given arguments on a worker; `tpu.sh run` starts it there.
#
# A launch.py that an earlier, lost connection left running holds the TPU: it is stopped first and may save. Exit
# statuses are those of launch.py, except that 1 and 2 become 101 and 102.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 102
pid_file=.launch.pid

if [[ -f $pid_file ]]; then
  old=$(<"$pid_file")
  if [[ $old =~ ^[0-9]+$ ]] && tr '\0' ' ' < "/proc/$old/cmdline" 2> /dev/null | grep -q 'launch\.py'; then
    echo "worker.sh: stopping process $old of an earlier start"
    kill -TERM "$old"
    for ((second = 0; second < ${CAPJAX_GRACE_SECONDS:-120}; second++)); do
      kill -0 "$old" 2> /dev/null || break
      sleep 1
    done
    kill -KILL "$old" 2> /dev/null
  fi
fi

"${CAPJAX_PYTHON:-.venv/bin/python}" launch.py "$@" &
child=$!
echo "$child" > "$pid_file"
trap 'kill -TERM "$child" 2> /dev/null' TERM INT HUP
wait "$child"
status=$?
while kill -0 "$child" 2> /dev/null; do # a trap ended the wait before launch.py had saved
  wait "$child"
  status=$?
done
rm -f "$pid_file"
case $status in
  1 | 2) exit $((100 + status)) ;;
esac
exit "$status"
