#!/usr/bin/env bash
# PostgreSQL on ext4 on a replicated array, two nodes in network namespaces: under load the primary is
# killed, or its link is cut and then it is killed; the replica is promoted without force, mounted, and
# every transaction that was acknowledged is there. Then the old primary comes back as the replica, and
# the next round goes the other way. FAILOVER_ROUNDS says how often.
# timeout: 240
# slow
. "$(dirname "$0")/lib.sh"
. "$HERE/kill9.sh"
. "$HERE/mount.sh"
. "$HERE/array.sh"

require_root
require_mounts
command -v ip >/dev/null || fail "ip (iproute2) is not installed: tools/test does that"
ip netns add "ashlar-probe-$$" 2>/dev/null || skip "network namespaces cannot be made here"
ip netns del "ashlar-probe-$$"
postgres=$(find /usr/lib/postgresql -maxdepth 1 -mindepth 1 2>/dev/null | sort -V | tail -n 1)/bin
[[ -x $postgres/initdb ]] || fail "PostgreSQL is not installed: tools/test does that"
mnt=$WORK/mnt port=5499 postmaster=''
mkdir -p "$mnt"
install -d -o postgres -g postgres "$WORK/pg"
as_postgres=(setpriv --reuid=postgres --regid=postgres --init-groups env -C "$WORK" LC_ALL=C.UTF-8)
start_postgres() {
  # An init that reaps nobody leaves a zombie, and PostgreSQL takes that for a server that runs.
  if [[ -n $postmaster ]] && is_gone "$postmaster"; then
    rm -f "$mnt/pg/postmaster.pid" "$WORK/pg/.s.PGSQL.$port" "$WORK/pg/.s.PGSQL.$port.lock"
  fi
  timeout 120 "${as_postgres[@]}" "$postgres/pg_ctl" -D "$mnt/pg" -w -t 100 -l "$WORK/pg/log" \
    -o "-k $WORK/pg -c listen_addresses= -p $port -c wal_level=minimal -c max_wal_senders=0" start >/dev/null ||
    { tail -n 30 "$WORK/pg/log"; fail "PostgreSQL does not start"; }
  postmaster=$(head -n 1 "$mnt/pg/postmaster.pid")
}
# end_postgres: where its files give nothing but errors any more, and no pg_ctl can ask it to.
end_postgres() {
  [[ -n $postmaster ]] && is_running "$postmaster" || return 0
  kill -QUIT "$postmaster" || true
  wait_until 5 is_gone "$postmaster" || kill -KILL "$postmaster" || true
  wait_until 20 is_gone "$postmaster" || fail "PostgreSQL does not end"
}
sql() { timeout 60 "${as_postgres[@]}" "$postgres/psql" -h "$WORK/pg" -p $port -Atc "$1" postgres; }
bench() { "${as_postgres[@]}" "$postgres/pgbench" -h "$WORK/pg" -p $port "$@" postgres; }
on_exit end_postgres

# The nodes: each in a namespace of its own, and a cable between them.
declare -A space=([left]=al$$ [right]=ar$$) address=([left]=10.71.0.1 [right]=10.71.0.2) server=()
for node in left right; do
  ip netns add "${space[$node]}"
  on_exit "ip netns del ${space[$node]}"
done
ip link add "v${space[left]}" netns "${space[left]}" type veth peer name "v${space[right]}" netns "${space[right]}"
for node in left right; do
  ip -n "${space[$node]}" addr add "${address[$node]}/24" dev "v${space[$node]}"
  ip -n "${space[$node]}" link set "v${space[$node]}" up
  ip -n "${space[$node]}" link set lo up
done
link() { ip -n "${space[left]}" link set "v${space[left]}" "$1"; }

# start_node NODE: serve its array, and leave the process in server[NODE].
start_node() {
  local log=$WORK/$1.log
  [[ " ${SERVER_LOGS[*]} " == *" $log "* ]] || SERVER_LOGS+=("$log")
  # Not "ip netns exec": that would keep mounts of its own.
  nsenter --net="/run/netns/${space[$1]}" "$ASHLAR" serve "$DATA/$1.0" "$DATA/$1.1" \
    --replication "tcp:${address[$1]}:10900" --insecure-plain >>"$log" 2>&1 </dev/null &
  server[$1]=$!
  on_exit "stop_pid ${server[$1]}"
  wait_until 20 answers "$1" || fail "$1 does not start"
}
answers() { timeout 5 "$ASHLAR" status "$1" --json 2>/dev/null | jq -e '.devices[0].status.array != null' >/dev/null; }
# mirror NODE EXPRESSION: of what it says of replication, by jq.
mirror() { timeout 10 "$ASHLAR" status "$1" --json | jq -r ".devices[0].status.array.replication | $2"; }
in_step() { [[ $(mirror "$1" '.role + " " + (.peers[0].counts | tostring) + " " + .peers[0].connection') == "primary true in step" ]]; }

for node in left right; do create_array $node raid1 300M "$DATA/$node.0" "$DATA/$node.1"; done
primary=left replica=right
start_node left
start_node right
"$ASHLAR" replica add left "tcp:${address[right]}:10900" --on-peer-loss stop --peer-timeout 3s >/dev/null
wait_until 30 in_step left || fail "the replica does not come in step"
attach "$primary"
mkfs.ext4 -q -F "$DEVICE"
mount "$DEVICE" "$mnt"
install -d -o postgres -g postgres "$mnt/pg"
timeout 120 "${as_postgres[@]}" "$postgres/initdb" -D "$mnt/pg" -A trust -k >"$WORK/initdb" 2>&1 || { cat "$WORK/initdb"; fail "initdb"; }
start_postgres
bench -i -s 1 -q >"$WORK/init" 2>&1 || { cat "$WORK/init"; fail "pgbench -i"; }
# Each client inserts a number and writes down what COMMIT has answered for.
sql "create table acked(client int, number int, primary key(client, number))" >/dev/null
client() { # client N: until the connection is lost
  local number=0 answer
  coproc SESSION { exec "${as_postgres[@]}" "$postgres/psql" -h "$WORK/pg" -p $port -At -v ON_ERROR_STOP=1 postgres 2>/dev/null; }
  while true; do
    number=$((number + 1))
    echo "insert into acked values ($1, ${round}000000 + $number) returning number;" >&"${SESSION[1]}" || break
    IFS= read -r -t 30 answer <&"${SESSION[0]}" || break
    if [[ $answer == INSERT* ]]; then IFS= read -r -t 30 answer <&"${SESSION[0]}" || break; fi
    [[ $answer =~ ^[0-9]+$ ]] || continue
    echo "$1,$answer" >>"$WORK/pg/acked.$1"
  done
}

rounds=${FAILOVER_ROUNDS:-2} total=0
for ((round = 1; round <= rounds; round++)); do
  bench -c 4 -j 2 -T 300 -n >"$WORK/bench" 2>&1 &
  load=$!
  on_exit "stop_pid $load"
  clients=()
  for n in 1 2; do client $n & clients+=($!); on_exit "stop_pid $!"; done
  sleep 1
  pause_up_to 2000
  what="killed"
  if ((RANDOM % 2)); then
    what="cut off, and then killed"
    link down
    pause_up_to 6000
  fi
  kill -KILL "${server[$primary]}"
  { wait "${server[$primary]}" || true; } 2>/dev/null
  end_postgres
  for pid in "$load" "${clients[@]}"; do wait_until 60 is_gone "$pid" || fail "a client hangs after the kill"; done
  unmounted() { ! mountpoint -q "$mnt" || umount "$mnt" 2>/dev/null; }
  wait_until 20 unmounted || umount -l "$mnt"
  detached() { "$ASHLAR" detach "$primary" >"$WORK/detach" 2>&1; }
  wait_until 30 detached || { cat "$WORK/detach"; fail "detach after the kill"; }
  # What the dead primary had on its way has arrived, or never does.
  promoted() { "$ASHLAR" promote "$replica" >"$WORK/promote" 2>&1; }
  wait_until 20 promoted || { cat "$WORK/promote"; fail "round $round: the replica is not promoted"; }
  read -r primary replica <<<"$replica $primary"
  attach "$primary"
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
  [[ $acked -gt $total ]] || fail "nothing was acknowledged in round $round: that proves nothing"
  note "round $round: $replica was $what, $primary has taken over; all of $acked acknowledged transactions are there"
  total=$acked
  link up
  start_node "$replica"
  # What was on its way when the link was cut is nowhere else: it is listed, and given up by name.
  settled() { in_step "$primary" || [[ -n $(mirror "$replica" .divergence) ]]; }
  wait_until 60 settled || true
  if [[ -n $(mirror "$replica" .divergence) ]]; then
    bytes=$("$ASHLAR" replica diff "$replica" --json | jq '[.done[0].ranges[].byte_count] | add')
    expect_refusal "--discard $bytes" "$ASHLAR" replica resync "$replica" --discard 1
    "$ASHLAR" replica resync "$replica" --discard "$bytes" >"$WORK/resync" 2>&1 || { cat "$WORK/resync"; fail "resync"; }
    note "$bytes bytes that nobody was told of are given up"
  fi
  wait_until 60 in_step "$primary" ||
    { "$ASHLAR" status "$primary"; "$ASHLAR" status "$replica"; fail "round $round: $replica does not come back in step"; }
done
timeout 60 "${as_postgres[@]}" "$postgres/pg_ctl" -D "$mnt/pg" -w -m fast stop >/dev/null 2>&1 || fail "PostgreSQL does not stop"
"${as_postgres[@]}" "$postgres/pg_checksums" -D "$mnt/pg" --check >"$WORK/checksums" 2>&1 || { cat "$WORK/checksums"; fail "page checksums are wrong"; }
umount "$mnt"
check_fs ext4 "$DEVICE"
detach "$primary"
# Handed over in good order: no force, and the same bytes on both.
"$ASHLAR" demote "$primary" >/dev/null || fail "demote"
wait_until 10 "$ASHLAR" promote "$replica" >/dev/null || fail "promote after demote"
wait_until 60 in_step "$replica" || fail "in step after the hand-over"
for node in left right; do nbdcopy "$(socket_uri $node)" "$WORK/$node.image" || fail "nbdcopy"; done
cmp "$WORK/left.image" "$WORK/right.image" || fail "the nodes differ"
# Until its primary has called them durable, a replica keeps records in its log.
sleep 2
for node in left right; do SERVER=${server[$node]}; stop_server; done
for node in left right; do expect_clean $node "$DATA/$node.0" "$DATA/$node.1"; done
