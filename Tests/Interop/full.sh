# shellcheck shell=bash
# For the tests with a full disk: a small ext4 on a loop device, under DATA/small.

make_small_fs() { # make_small_fs SIZE
  require_loop
  truncate -s "$1" "$DATA/small.img"
  mkfs.ext4 -q -F -m 0 "$DATA/small.img"
  mkdir "$DATA/small"
  mount -o loop "$DATA/small.img" "$DATA/small"
}
