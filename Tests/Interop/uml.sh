# shellcheck shell=bash
# For the tests with the kernel's NBD client: a User-Mode Linux guest, kernel 6.1, the oldest kernel
# that Ashlar supports. The kernel is a Debian package, unpacked once into .cache/uml.

require_guest() {
  require_root
  [[ $(uname -m) == x86_64 ]] || skip "User-Mode Linux runs on x86_64 only"
  export UML_CACHE=$ROOT/.cache/uml UML_WORK=$WORK UML_NICE=0
  if [[ ! -s $UML_CACHE/uml/release ]]; then
    apt-cache show user-mode-linux >/dev/null 2>&1 || apt-get update -q >/dev/null 2>&1 || true
    apt-cache show user-mode-linux >/dev/null 2>&1 || skip "apt knows no package user-mode-linux"
  fi
  "$ROOT/tools/uml/fetch-kernels" "$UML_CACHE" || fail "cannot fetch the guest's kernel"
}

# kernel_client_cycle KIND: the server here, the client in a guest, a network between them.
kernel_client_cycle() {
  require_guest
  [[ -e /dev/net/tun ]] || skip "no /dev/net/tun for the guest's network"
  local subnet port=10909
  # An address that no other run uses, for the time of this test.
  subnet=10.$((200 + RANDOM % 50)).$((RANDOM % 250))
  "$ROOT/tools/uml/run-uml" --host-addr "$subnet.1/24" --guest-addr "$subnet.2/24" --timeout 100 \
    --env FS="$1" --env NBD_PORT=$port --wait-port $port --server \
    "exec '$ASHLAR' serve --file '$DATA/disk.img' --size 512M --name disk --insecure-plain --listen tcp:\$HOST_IP:$port" \
    "$HERE/guest-cycle.sh" >"$WORK/out" 2>"$WORK/uml.log" || { tail -n 60 "$WORK/uml.log" "$WORK/out" >&2; fail "the $1 cycle in the guest"; }
  sed 's/^/    /' "$WORK/out"
  grep -q 'cycle done' "$WORK/out" || fail "the guest did not come to the end"
}
