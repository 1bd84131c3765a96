#!/bin/sh
# sh guard.sh GRACE_SECONDS COMMAND [ARGUMENT...]
#
# Runs COMMAND in place of this shell (same pid, exit code and signals), and ends it once no process holds the
# other end of fd 3: first SIGTERM, then, after the grace period, SIGKILL to the whole process group.
# Must be started as a process group leader.
grace=$1
shift

# Whether COMMAND still runs. Where nothing reaps orphans, as in many containers, it may stay a zombie.
is_running() {
  kill -0 $$ 2>/dev/null || return 1
  [ -r /proc/$$/status ] || return 0
  while read -r key value _; do
    [ "$key" = State: ] && break
  done </proc/$$/status
  [ "$value" != Z ]
}

(
  # Signals to the group are meant for COMMAND; this watcher must outlive it.
  trap '' TERM INT HUP QUIT
  # Other children's pipes: COMMAND holds them so that those children exit after it.
  exec 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-
  # `read` is a shell builtin, so no extra process waits here. It returns when fd 3 closes.
  read -r _ <&3
  # As long as this process is in the group, no other process can get the id $$.
  kill -TERM $$
  tenths=$((grace * 10))
  while [ "$tenths" -gt 0 ] && is_running; do
    sleep 0.1
    tenths=$((tenths - 1))
  done
  kill -KILL -$$
) </dev/null >/dev/null 2>&1 &

# A file that can't grow, as on a full disk, is an error for COMMAND, and not its end.
trap '' XFSZ

exec "$@" 3<&-
