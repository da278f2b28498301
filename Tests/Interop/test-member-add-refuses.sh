#!/usr/bin/env bash
# "member add" and "member replace" refuse a new member that holds anything, is a member already, is
# too small, in use or not there, name what it is, and leave it and the array as they were; --force
# destroys what it holds and says so before; a file that does not exist is created, at the right size.
# timeout: 240
. "$(dirname "$0")/lib.sh"
. "$HERE/array.sh"

cd "$DATA"
members=("$DATA/m0" "$DATA/m1" "$DATA/m2")
create_array a raid5 64M "${members[@]}"
create_array other raid1 64M "$DATA/o0" "$DATA/o1"
truncate -s 96M ext4 data zeros; truncate -s 8M small; mkdir folder
mkfs.ext4 -q -L precious ext4
printf '%s' data-of-somebody | dd of=data bs=1 seek=4711 conv=notrunc status=none
sha256sum ext4 data o0 small >"$WORK/sums"
serve_array a a
before=$(array_fact a .configuration.event_count)

refuses() { # refuses WORDS MEMBER: to add it, and to replace one with it
  expect_refusal "$1" "$ASHLAR" member add a "$2"
  expect_refusal "$1" "$ASHLAR" member replace a 1 "$2"
}
refuses "ext4 holds a file system \(ext4\) labelled 'precious'.*--force" ext4
refuses 'data holds data of an unknown kind \(at byte 4711\).*--force' data
refuses "o0 holds an ashlar member of array 'other'.*--force" o0
refuses 'small.*8M.*needs|it has 8M, and a member of this array needs' small
refuses 'm1 is where member 1 of this array is' m1
ln m2 link
refuses 'link is where member 2 of this array is' link
refuses 'neither a regular file nor a block device|folder' folder
refuses 'no file is created among the devices' /dev/there-is-no-such-disk
refuses 'there is no socket|nobody listens' "nbd+unix:///x?socket=$WORK/no.sock"
refuses 'No such file|cannot create' "$DATA/no/such/folder/member"
# A copy of a member is not a new one, whatever is forced.
cp --sparse=always m1 twin
refuses 'twin is member 1 of this array' twin
expect_refusal 'twin is member 1 of this array' "$ASHLAR" member add a twin --force
exec {held}<zeros
flock -x "$held"
expect_refusal 'zeros is in use' "$ASHLAR" member add a zeros
exec {held}<&-
sha256sum -c --quiet "$WORK/sums" || fail "a refused member was changed"
[[ $(array_fact a .configuration.event_count) == "$before" ]] || fail "a refusal changed the configuration"
[[ $(array_fact a '.reserves | length') == 0 ]] || fail "a refused member is a reserve"
expect_array a 5 optimal

note "a server that takes no connection does not hold up the array"
python3 -c "
import socket, sys, time
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(5); open(sys.argv[1] + '.up', 'w'); time.sleep(120)" "$WORK/deaf.sock" &
deaf=$!
on_exit "stop_pid $deaf"
wait_until 10 test -e "$WORK/deaf.sock.up"
timeout 60 "$ASHLAR" member add a "nbd+unix:///x?socket=$WORK/deaf.sock" >"$WORK/deaf.out" 2>&1 & adder=$!
sleep 0.5
for _ in 1 2 3 4 5; do
  begin=$(date +%s%N)
  array_is a optimal || fail "the status is wrong while a member is opened"
  qemu-io -f raw -c 'write -q 0 64k' -c 'flush' "$URI" >/dev/null || fail "a write fails while a member is opened"
  took=$((($(date +%s%N) - begin) / 1000000))
  [[ $took -lt 3000 ]] || fail "status and a write took $took ms while a member is opened"
done
is_running "$adder" || { cat "$WORK/deaf.out"; fail "the deaf server was given up at once: that proves nothing"; }
expect_refusal 'carrying out another order' "$ASHLAR" member fail a 1
wait "$adder" && fail "a server that says nothing became a member"
grep -q 'x?socket' "$WORK/deaf.out" || { cat "$WORK/deaf.out"; fail "the refusal does not name the server"; }
stop_pid "$deaf"

note "a new file, at the right size"
timeout 60 "$ASHLAR" member add a new --json >"$WORK/json" || fail "member add"
jq -e '.version == 1 and .done[0].created and .done[0].seat == 3 and .done[0].slot == null' "$WORK/json" >/dev/null || { cat "$WORK/json"; fail "the JSON of member add"; }
[[ $(stat -c %s new) -le $(stat -c %s m0) && $(stat -c %a new) == 600 ]] || fail "the new file has $(stat -c '%s bytes, mode %a' new)"
[[ $(array_fact a '.reserves[0] | "\(.seat) \(.state) \(.place)"') == "3 spare $DATA/new" ]] || fail "the spare is not in the status"
"$ASHLAR" status a | grep -qE '^  3 +spare .* '"$DATA/new" || { "$ASHLAR" status a; fail "status does not show the spare"; }
refuses 'new is where member 3 of this array is' new
timeout 60 "$ASHLAR" member remove a "$DATA/new" >/dev/null || fail "remove the spare by its path"
[[ $(array_fact a '.reserves | length') == 0 ]] || fail "the spare is still there"
# What was a member holds something, and is not taken back by mistake.
refuses "new holds an ashlar member of array 'a'.*--force" new

note "by force, and said"
timeout 60 "$ASHLAR" member add a ext4 --force >"$WORK/out" 2>"$WORK/told" || { cat "$WORK/told"; fail "member add --force"; }
grep -q "destroying what is there: .*ext4 holds a file system" "$WORK/told" || { cat "$WORK/told"; fail "--force does not say what it destroys"; }
grep -q "ext4 holds a file system" "$LOG" || fail "the log does not say what was destroyed"
[[ $(blkid -p -o value -s TYPE ext4 || true) == "" ]] || fail "the file system is still there"
expect_array a 5 optimal
stop_server
# The registry remembers the place of the spare.
serve_array a a
[[ $(array_fact a '.reserves[0].place') == "$DATA/ext4" ]] || fail "the spare is not found again by the array's name"
stop_server
