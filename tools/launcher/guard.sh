#!/bin/sh
# sh guard.sh GRACE_SECONDS COMMAND [ARGUMENT...]
#
# Runs COMMAND in place of this shell (same pid, exit code and signals), and ends it when the last process that holds
# the other end of fd 3 is gone: TERM first, KILL for the whole process group after the grace period.
# To be started as the leader of a process group of its own.
grace=$1
shift

# Whether COMMAND still runs. Where nobody reaps orphans, as in many containers, it may be a zombie for ever.
is_running() {
  kill -0 $$ 2>/dev/null || return 1
  [ -r /proc/$$/status ] || return 0
  while read -r key value _; do
    [ "$key" = State: ] && break
  done </proc/$$/status
  [ "$value" != Z ]
}

(
  # Signals sent to the whole group are meant for COMMAND; this must outlive it.
  trap '' TERM INT HUP
  # Other children's pipes, which COMMAND holds so that they end after it.
  exec 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-
  # `read` is part of the shell, so nobody waits here but this one process. It returns when fd 3 closes.
  read -r _ <&3
  # As long as this process is in the group, no other process can be given the id $$.
  kill -TERM $$
  tenths=$((grace * 10))
  while [ "$tenths" -gt 0 ] && is_running; do
    sleep 0.1
    tenths=$((tenths - 1))
  done
  kill -KILL -$$
) </dev/null >/dev/null 2>&1 &

exec "$@" 3<&-
