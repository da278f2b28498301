#!/usr/bin/env bash
# create refuses members and spares that hold anything, repeat, are too small or in use, names what it
# found, and leaves everything as it was; --force destroys what they hold and says what that is. A spare
# that it takes is one when the array is served, and takes the slot of a member that fails.
. "$(dirname "$0")/lib.sh"
. "$HERE/array.sh"

create() { timeout 60 "$ASHLAR" create "$@"; }
cd "$DATA"

# What others made.
for file in ext4 xfs swap table data tail zeros; do truncate -s 320M "$file"; done
mkfs.ext4 -q -L precious ext4
mkfs.xfs -q xfs
mkswap swap >/dev/null
printf '%s' data-of-somebody | dd of=data bs=1 seek=4711 conv=notrunc status=none
printf 'x' | dd of=tail bs=1 seek=$((320 * 1024 * 1024 - 1)) conv=notrunc status=none
# A partition table of a PC with one entry.
printf '\x00\x00\x02\x00\x83\x00\x02\x00\x00\x08\x00\x00\x00\x08\x00\x00' | dd of=table bs=1 seek=446 conv=notrunc status=none
printf '\x55\xaa' | dd of=table bs=1 seek=510 conv=notrunc status=none
sha256sum ext4 xfs swap table data tail >"$WORK/sums"

refuses() { # refuses WORDS MEMBER
  expect_refusal "$1" "$ASHLAR" create a --level raid1 --log-size 4m zeros "$2"
  grep -q -- '--force' "$WORK/refusal" || fail "the refusal of $2 does not say what to do"
}
refuses "ext4 holds a file system \(ext4\) labelled 'precious'" ext4
refuses 'xfs holds a file system \(xfs\)' xfs
refuses 'swap holds swap space' swap
refuses 'table holds a partition table \(dos\)' table
refuses 'data holds data of an unknown kind \(at byte 4711\)' data
refuses 'tail holds data of an unknown kind \(at byte 335544319\)' tail
sha256sum -c --quiet "$WORK/sums" || fail "a refused member was changed"

# The same by two names; too small; too few; a folder; nothing there; neither file nor device.
expect_refusal 'zeros is given twice' "$ASHLAR" create a --level raid1 zeros zeros
ln zeros link
expect_refusal 'link is the same as .*zeros' "$ASHLAR" create a --level raid1 zeros link
truncate -s 1M small
expect_refusal 'small has 1M' "$ASHLAR" create a --level raid1 zeros small
expect_refusal 'missing does not exist: give --size' "$ASHLAR" create a --level raid1 zeros missing
expect_refusal 'neither a regular file nor a block device' "$ASHLAR" create a --level raid1 zeros /dev/null
expect_status 64 create a --level raid5 zeros new --size 64M 2>/dev/null
expect_status 64 create a --level raid7 zeros new --size 64M 2>/dev/null
expect_status 64 create a --level raid1 --log-policy half zeros new --size 64M 2>"$WORK/policy"
grep -q "is not one of full, auto" "$WORK/policy" || fail "the log policies are not named"
# Spares are checked like members.
spare() { expect_refusal "$1" "$ASHLAR" create a --level raid1 --log-size 4m --size 64M new0 new1 --spare "$2" "${@:3}"; }
spare "ext4 holds a file system \(ext4\) labelled 'precious'.*--force" ext4
spare 'zeros is given twice' zeros --spare zeros
spare 'link is the same as .*zeros' zeros --spare link
spare 'small has 1M' small
spare 'neither a regular file nor a block device' /dev/null
expect_refusal 'small has 1M.*a spare of these members needs' "$ASHLAR" create a --level raid1 --log-size 4m zeros ext4 --force --spare small
sha256sum -c --quiet "$WORK/sums" || fail "a refused spare, or a member beside it, was changed"
expect_refusal 'raid0 cannot do without any member' "$ASHLAR" create a --level raid0 --log-size 4m --size 64M new0 new1 --spare new2
[[ ! -e new0 && ! -e new1 && ! -e new2 ]] || fail "a creation with a bad spare left a file behind"
# A creation that fails takes the files with it that it made.
expect_refusal 'ext4 holds' "$ASHLAR" create a --level raid1 --size 64M new ext4
[[ ! -e new ]] || fail "a failed creation left a file behind"

# Members of another array.
create a --level raid1 --size 64M --log-size 4m one two >"$WORK/out"
grep -q 'any one member' "$WORK/out" || fail "create does not say what the array survives"
expect_refusal "one holds an ashlar member of array 'a'" "$ASHLAR" create b --level raid1 --log-size 4m one zeros
# The same name again.
expect_refusal "an array called 'a' .* is known here" "$ASHLAR" create a --level raid1 --size 64M x y
# In use.
serve_array a a
expect_refusal 'one is in use: process [0-9]+' "$ASHLAR" create b --level raid1 --log-size 4m --force one zeros
expect_refusal "called 'a' is already being served" "$ASHLAR" create a --level raid1 --force --size 64M x y
stop_server

# A name that is known here is not taken by force, which is about contents.
expect_refusal 'known here.*--forget' "$ASHLAR" create a --level raid1 --log-size 4m --force --size 64M x y
[[ ! -e x ]] || fail "a refused create left a file"
create a --level raid1 --size 64M --log-size 4m --forget l0 l1
# On the same members it is the array itself that is destroyed, and said.
create a --level raid1 --log-size 4m --force l0 l1 2>"$WORK/told"
grep -q "destroying what is there: .*l0" "$WORK/told" || { cat "$WORK/told"; fail "--force does not say what it destroys"; }
# By force, and said.
create b --level raid1 --log-size 4m --force --json zeros ext4 >"$WORK/json" 2>"$WORK/told" || { cat "$WORK/told"; fail "create --force"; }
grep -q "destroying what is there: .*ext4 holds a file system" "$WORK/told" || fail "--force does not say what it destroys"
jq -e '.level == "raid1" and (.members | length) == 2 and (.destroyed | length) == 1 and .redundancy == 1' "$WORK/json" >/dev/null ||
  { cat "$WORK/json"; fail "the JSON of create"; }
[[ $(blkid -p -o value -s TYPE ext4 || true) == "" ]] || fail "the file system is still there"
serve_array b ext4 zeros
stop_server

note "spares, made with the array"
create c --level raid1 --size 64M --log-size 4m c0 c1 --spare c2 --spare c3 --json >"$WORK/json" || fail "create --spare"
jq -e '(.members | map(.slot)) == [0, 1] and (.spares | map(.seat)) == [2, 3] and .spares[1].place == "'"$DATA/c3"'" and .spares[1].created' "$WORK/json" >/dev/null ||
  { cat "$WORK/json"; fail "the JSON of create --spare"; }
expect_refusal "c3 holds an ashlar member of array 'c'" "$ASHLAR" create d --level raid1 --size 64M --log-size 4m x y --spare c3
serve_array c c
[[ $(array_fact c '.reserves | map("\(.seat) \(.state) \(.place)") | join(", ")') == "2 spare $DATA/c2, 3 spare $DATA/c3" ]] ||
  { "$ASHLAR" status c; fail "the spares are not in the status"; }
expect_array c 5 optimal
timeout 20 "$ASHLAR" member fail c 0 >/dev/null || fail "member fail"
timeout 60 "$ASHLAR" rebuild c --wait >"$WORK/out" || { cat "$WORK/out"; fail "the rebuild onto the spare"; }
[[ $(array_fact c '"\(.members[0].place) \(.members[0].state)"') == "$DATA/c2 current" ]] || { "$ASHLAR" status c; fail "no spare took the slot"; }
stop_server
