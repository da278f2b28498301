# shellcheck shell=bash disable=SC2016,SC2034,SC2154  # on_exit evaluates at the end; tools/demo has made or reads it
# demo replicate: PostgreSQL on an array that is mirrored to another node, whose node is killed. Source it.

declare -A node=()
# start_node NAME: serve its array, and wait until it says how it is.
start_node() {
  "$ASHLAR" serve "$data/$1.0" "$data/$1.1" --replication "unix:$work/$1.repl" >>"$work/ashlar.log" 2>&1 </dev/null &
  node[$1]=$!
  on_exit "stop_pid ${node[$1]}"
  wait_until 20 node_answers "$1" || die "the node of $1 does not start"
}
node_answers() { timeout 5 "$ASHLAR" status "$1" --json 2>/dev/null | jq -e '.devices[0].status.array != null' >/dev/null; }
# mirror NAME FILTER: what it says of replication, by jq.
mirror() { timeout 10 "$ASHLAR" status "$1" --json | jq -r ".devices[0].status.array.replication | $2"; }
in_step() { [[ $(mirror "$1" '.role + " " + (.peers[0].counts | tostring) + " " + .peers[0].connection') == "primary true in step" ]]; }
is_settled() { in_step "$primary" || [[ -n $(mirror "$replica" .divergence) ]]; }

# take_over: PostgreSQL on what is the primary now.
take_over() {
  device=$("$ASHLAR" attach "$primary")
  [[ -b $device ]] || die "ashlar attach printed no block device: $device"
  mount "$device" "$work/mnt"
  note "ashlar attach $primary: $device, mounted"
  start_postgres "$work/pg/log"
}
# let_go: the file system and the device of a primary, dead or alive.
let_go() {
  if mountpoint -q "$work/mnt"; then wait_until 20 umount "$work/mnt" || umount -l "$work/mnt"; fi
  wait_until 30 "$ASHLAR" detach "$primary" || die "$primary cannot be detached"
}

# client N: insert one number after the other, and write down each whose COMMIT was answered; until the
# connection is lost.
client() {
  local number answer
  # shellcheck disable=SC2031
  coproc SESSION { exec "${as_postgres[@]}" "$postgres/psql" -h "$work/pg" -p 5499 -At -v ON_ERROR_STOP=1 postgres 2>/dev/null; }
  for ((number = 1; ; number++)); do
    echo "insert into seen values ($1, $number) returning number;" >&"${SESSION[1]}" || break
    IFS= read -r -t 30 answer <&"${SESSION[0]}" || break
    if [[ $answer == INSERT* ]]; then IFS= read -r -t 30 answer <&"${SESSION[0]}" || break; fi
    [[ $answer =~ ^[0-9]+$ ]] || continue
    echo "$1,$answer" >>"$work/seen.$1"
  done
} 2>/dev/null
# count_transactions: what clients saw committed is there, and nothing else but what was under way.
count_transactions() {
  local there history
  sql "copy (select client, number from seen) to stdout with csv" | sort >"$work/there"
  sort "$work/seen.1" "$work/seen.2" >"$work/said"
  said=$(wc -l <"$work/said") there=$(wc -l <"$work/there")
  [[ $said -gt 0 ]] || die "no client saw a transaction committed: that shows nothing"
  [[ -z $(comm -23 "$work/said" "$work/there") ]] || { comm -23 "$work/said" "$work/there" | head >&2; die "transactions that clients saw committed are gone"; }
  [[ $there -le $((said + 2)) ]] || die "$there numbers are there, of which clients saw $said"
  note "numbered inserts: clients saw $said committed, all of them are there; $((there - said)) more had been under way"
  history=$(sql "select count(*) from pgbench_history")
  [[ $history -ge $processed_count && $history -le $((processed_count + 4)) ]] ||
    die "pgbench saw $processed_count transactions committed, and $history are there"
  note "pgbench: $processed_count transactions answered, $history there"
}

primary=left replica=right said=0 processed_count=0
stage="serving"
say "Two nodes, each with a RAID-1 of two files of $size"
for name in left right; do
  note "ashlar create $name --level raid1 --size $size --log-size 64m $name.0 $name.1"
  run "$ASHLAR" create $name --level raid1 --size "$size" --log-size 64m "$data/$name.0" "$data/$name.1" >"$work/created" || die "$name cannot be created"
  start_node $name
done
say "right becomes the replica of left: each write is acknowledged when both have it in their logs"
show replica add left "unix:$work/right.repl" --mode C --on-peer-loss stop; [[ $code -eq 0 ]] || die "the replica cannot be added"
wait_until 60 in_step left || die "the replica does not come in step"
show status left

stage="PostgreSQL on the primary"
say "PostgreSQL on an ext4 file system on left"
on_exit 'for name in left right; do "$ASHLAR" detach $name; done >/dev/null 2>&1'
device=$("$ASHLAR" attach left)
run mkfs.ext4 -q -F "$device"
on_exit 'unmount_all "$work/mnt"'
mount "$device" "$work/mnt"
on_exit end_postgres
init_postgres
start_postgres "$work/pg/log"
load_accounts 5
sql "create table seen(client int, number int, primary key(client, number))" >/dev/null
"${bench[@]}" -c 4 -j 2 -T 600 -n postgres >"$work/pgbench.log" 2>&1 &
clients=($!)
for number in 1 2; do client $number & clients+=($!); done
for pid in "${clients[@]}"; do on_exit "stop_pid $pid"; done
note "500,000 accounts loaded; pgbench with 4 clients, and 2 that write down what they saw committed, for $seconds s"
sleep "$seconds"

stage="the killed primary"
say "Under that load: kill -9 of left's node"
kill -KILL "${node[left]}"
{ wait "${node[left]}" || true; } 2>/dev/null
begin=${EPOCHREALTIME/./}
end_postgres || die "PostgreSQL does not end"
for pid in "${clients[@]}"; do wait_until 60 bash -c "! kill -0 $pid" || die "a client hangs after the kill"; wait "$pid" || true; done
let_go
processed_count=$(sed -nE 's/^number of transactions actually processed: ([0-9]+).*/\1/p' "$work/pgbench.log")
[[ $processed_count -gt 0 ]] || { tail -n 20 "$work/pgbench.log" >&2; die "pgbench gave no figure"; }
note "clients have lost their connections, the dead device is unmounted and detached"

stage="the promotion"
say "right takes over, without --force"
wait_until 20 "$ASHLAR" promote right || { show promote right; die "the replica cannot be promoted"; }
read -r primary replica <<<"right left"
show status right
take_over
note "$(((${EPOCHREALTIME/./} - begin) / 1000)) ms from the kill until PostgreSQL takes connections again"
count_transactions
check_balances
check_tables

stage="the old primary"
say "left's node is started again, under load, and becomes the replica"
"${bench[@]}" -c 4 -j 2 -T 8 -n postgres >"$work/pgbench2.log" 2>&1 &
pgbench=$!
on_exit "stop_pid $pgbench"
start_node left
wait_until 60 is_settled || true
if [[ -n $(mirror left .divergence) ]]; then
  note "it holds writes that were under way when it was killed, and that nobody was told of"
  show replica diff left; [[ $code -eq 0 ]] || die "replica diff"
  bytes=$("$ASHLAR" replica diff left --json | jq -r '.done[0].words' | grep -oE '[0-9]+ bytes' | cut -d' ' -f1)
  show replica resync left --discard "${bytes:-all}"; [[ $code -eq 0 ]] || die "replica resync"
fi
wait_until 60 in_step right || { show status right; show status left; die "left does not come back in step"; }
wait "$pgbench" || { tail -n 20 "$work/pgbench2.log" >&2; die "pgbench failed"; }
grep -q 'number of failed transactions: 0 ' "$work/pgbench2.log" || die "transactions failed"
processed_count=$((processed_count + $(sed -nE 's/^number of transactions actually processed: ([0-9]+).*/\1/p' "$work/pgbench2.log")))
show status right

stage="the hand-over"
say "The role goes back to left, in good order and without --force"
stop_postgres fast || die "PostgreSQL does not stop"
let_go
show demote right; [[ $code -eq 0 ]] || die "right cannot be demoted"
show promote left; [[ $code -eq 0 ]] || die "left cannot be promoted"
read -r primary replica <<<"left right"
wait_until 60 in_step left || { show status left; die "right does not come in step"; }
take_over
count_transactions
check_balances
check_tables
stop_postgres fast || die "PostgreSQL does not stop"
check_pages

stage="checking both nodes"
say "Checking the file system, and that both nodes hold the same bytes"
umount "$work/mnt"
run e2fsck -fn "$device" >"$work/fsck.log" 2>&1 || { tail -n 20 "$work/fsck.log" >&2; die "the file system is damaged"; }
note "e2fsck: clean"
"$ASHLAR" detach left
for name in left right; do
  run nbdcopy "nbd+unix:///$name?socket=$ASHLAR_RUNTIME_DIR/$name.sock" "$data/$name.copy" || die "$name cannot be read"
done
run cmp "$data/left.copy" "$data/right.copy" || die "the nodes differ"
note "left and right: equal, byte for byte"
for name in left right; do
  "$ASHLAR" stop $name
  wait_until 15 bash -c "! kill -0 ${node[$name]}" || die "the node of $name does not end"
  wait "${node[$name]}" || die "the node of $name ended with status $?"
done
verdict="the primary's node was killed under PostgreSQL, and all of $said transactions that clients saw committed are there; the old primary came back, and took its role back without force"
stage="cleaning up"
