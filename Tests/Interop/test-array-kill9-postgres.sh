#!/usr/bin/env bash
# PostgreSQL on ext4 on an attached RAID-5 of files: kill -9 of the server under pgbench, a member gone in
# one round; each time everything is started again, and every transaction that was acknowledged is there.
# timeout: 400
# slow
. "$(dirname "$0")/lib.sh"
. "$HERE/kill9.sh"
. "$HERE/mount.sh"
. "$HERE/array.sh"

require_mounts
postgres=$(find /usr/lib/postgresql -maxdepth 1 -mindepth 1 2>/dev/null | sort -V | tail -n 1)/bin
[[ -x $postgres/initdb ]] || fail "PostgreSQL is not installed: tools/test does that"
mnt=$WORK/mnt port=5498 postmaster=''
mkdir -p "$mnt"
install -d -o postgres -g postgres "$WORK/pg"
as_postgres=(setpriv --reuid=postgres --regid=postgres --init-groups env -C "$WORK" LC_ALL=C.UTF-8)
stop_postgres() { timeout 60 "${as_postgres[@]}" "$postgres/pg_ctl" -D "$mnt/pg" -w -m "$1" stop >/dev/null 2>&1; }
start_postgres() {
  # An init that reaps nobody leaves a zombie, and PostgreSQL takes that for a server that runs.
  if [[ -n $postmaster ]] && is_gone "$postmaster"; then rm -f "$mnt/pg/postmaster.pid"; fi
  timeout 120 "${as_postgres[@]}" "$postgres/pg_ctl" -D "$mnt/pg" -w -t 100 -l "$WORK/pg/log" \
    -o "-k $WORK/pg -c listen_addresses= -p $port -c wal_level=minimal -c max_wal_senders=0" start >/dev/null ||
    { tail -n 30 "$WORK/pg/log"; fail "PostgreSQL does not start"; }
  postmaster=$(head -n 1 "$mnt/pg/postmaster.pid")
}
# end_postgres: where its files give nothing but errors any more, and no pg_ctl can ask it to.
end_postgres() {
  [[ -n $postmaster ]] && is_running "$postmaster" || return 0
  kill -QUIT "$postmaster" || true
  wait_until 20 is_gone "$postmaster" || kill -KILL "$postmaster" || true
  wait_until 20 is_gone "$postmaster" || fail "PostgreSQL does not end"
}
sql() { timeout 60 "${as_postgres[@]}" "$postgres/psql" -h "$WORK/pg" -p $port -Atc "$1" postgres; }
bench() { "${as_postgres[@]}" "$postgres/pgbench" -h "$WORK/pg" -p $port "$@" postgres; }
on_exit end_postgres

members=("$DATA/m0" "$DATA/m1" "$DATA/m2" "$DATA/m3")
create_array db raid5 300M "${members[@]}"
serve_array db db
attach db
mkfs.ext4 -q -F "$DEVICE"
mount "$DEVICE" "$mnt"
install -d -o postgres -g postgres "$mnt/pg"
timeout 120 "${as_postgres[@]}" "$postgres/initdb" -D "$mnt/pg" -A trust -k >"$WORK/initdb" 2>&1 || { cat "$WORK/initdb"; fail "initdb"; }
start_postgres
bench -i -s 2 -q >"$WORK/init" 2>&1 || { cat "$WORK/init"; fail "pgbench -i"; }
# Each client inserts a number and writes down what COMMIT has answered for.
sql "create table acked(client int, number int, primary key(client, number))" >/dev/null
client() { # client N: until the connection is lost
  local number=0 answer
  coproc SESSION { exec "${as_postgres[@]}" "$postgres/psql" -h "$WORK/pg" -p $port -At -v ON_ERROR_STOP=1 postgres 2>/dev/null; }
  while true; do
    number=$((number + 1))
    echo "insert into acked values ($1, ${round}000000 + $number) returning number;" >&"${SESSION[1]}" || break
    IFS= read -r -t 60 answer <&"${SESSION[0]}" || break
    if [[ $answer == INSERT* ]]; then IFS= read -r -t 60 answer <&"${SESSION[0]}" || break; fi
    [[ $answer =~ ^[0-9]+$ ]] || continue
    echo "$1,$answer" >>"$WORK/pg/acked.$1"
  done
}

rounds=${KILL9_ROUNDS:-3} total=0
for ((round = 1; round <= rounds; round++)); do
  note "round $round"
  bench -c 4 -j 2 -T 300 -n >"$WORK/bench" 2>&1 &
  load=$!
  on_exit "stop_pid $load"
  clients=()
  for n in 1 2; do client $n & clients+=($!); on_exit "stop_pid $!"; done
  sleep 3
  if ((round % 3 == 2)); then
    mv "$DATA/m1" "$DATA/away"
    expect_member db 1 20 out
    sleep 1
  fi
  pause_up_to 2000
  kill_server
  for pid in "$load" "${clients[@]}"; do wait_until 90 is_gone "$pid" || fail "a client hangs after the kill"; done
  end_postgres
  wait_until 30 umount "$mnt" || umount -l "$mnt"
  "$ASHLAR" detach db >/dev/null || fail "detach after the kill"
  rm -f "$WORK/db.log"
  serve_array db db
  attach db
  mount "$DEVICE" "$mnt"
  start_postgres
  acked=0
  for n in 1 2; do
    sql "copy (select client, number from acked where client = $n) to stdout with csv" | sort >"$WORK/there"
    sort "$WORK/pg/acked.$n" >"$WORK/said"
    acked=$((acked + $(wc -l <"$WORK/said")))
    [[ -z $(comm -23 "$WORK/said" "$WORK/there") ]] ||
      fail "round $round: acknowledged transactions are gone: $(comm -23 "$WORK/said" "$WORK/there" | head -n 5 | tr '\n' ' ')"
  done
  [[ $(sql "select (select sum(abalance) from pgbench_accounts) = (select sum(bbalance) from pgbench_branches)
    and (select sum(tbalance) from pgbench_tellers) = (select sum(delta) from pgbench_history)") == t ]] || fail "the balances do not add up"
  sql "create extension if not exists amcheck; select count(bt_index_check(c.oid, true)) from pg_class c join pg_am a on a.oid = c.relam
    where a.amname = 'btree' and c.relpersistence = 'p' and c.relkind = 'i'" >"$WORK/amcheck" || { cat "$WORK/amcheck"; fail "amcheck"; }
  note "$acked transactions acknowledged in all, and all of them there; $(tail -n 1 "$WORK/amcheck") indexes checked"
  [[ $acked -gt $total ]] || fail "nothing was acknowledged in round $round: that proves nothing"
  total=$acked
  if ((round % 3 == 2)); then
    [[ $(array_state db) == degraded ]] || fail "the array is $(array_state db), not degraded"
    mv "$DATA/away" "$DATA/m1"
    expect_array db 90 optimal
  fi
done
stop_postgres fast || fail "PostgreSQL does not stop"
"${as_postgres[@]}" "$postgres/pg_checksums" -D "$mnt/pg" --check >"$WORK/checksums" 2>&1 || { cat "$WORK/checksums"; fail "page checksums are wrong"; }
umount "$mnt"
check_fs ext4 "$DEVICE"
detach db
stop_server
expect_clean db "${members[@]}"
