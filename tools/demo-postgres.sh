# shellcheck shell=bash disable=SC2154  # "work" is what tools/demo has made
# PostgreSQL for the demonstrations: on the file system that is mounted on work/mnt. Source it.

postgres=$(find /usr/lib/postgresql -maxdepth 1 -mindepth 1 | sort -V | tail -n 1)/bin
[[ -x $postgres/initdb ]] || die "no PostgreSQL in /usr/lib/postgresql"
as_postgres=(setpriv --reuid=postgres --regid=postgres --init-groups env -C "$work" LC_ALL=C.UTF-8)
# Not a function: in the background its process has to be pgbench's own.
bench=("${as_postgres[@]}" "$postgres/pgbench" -h "$work/pg" -p 5499)
postmaster=''

# init_postgres: a new database with page checksums.
init_postgres() {
  install -d -o postgres -g postgres "$work/mnt/pg" "$work/pg"
  run "${as_postgres[@]}" "$postgres/initdb" -D "$work/mnt/pg" -A trust -k >"$work/initdb.log" 2>&1 ||
    { tail -n 20 "$work/initdb.log" >&2; die "initdb failed"; }
}
# start_postgres LOG
start_postgres() {
  # An init that reaps nobody leaves a zombie, and PostgreSQL takes that for a server that runs.
  if [[ -n $postmaster ]] && ! is_running "$postmaster"; then rm -f "$work/mnt/pg/postmaster.pid"; fi
  run "${as_postgres[@]}" "$postgres/pg_ctl" -D "$work/mnt/pg" -w -t 100 -l "$1" \
    -o "-k $work/pg -c listen_addresses= -p 5499" start >/dev/null || { tail -n 20 "$1" >&2; die "PostgreSQL does not start"; }
  postmaster=$(head -n 1 "$work/mnt/pg/postmaster.pid")
}
# stop_postgres MODE: pg_ctl's server leaves our process group, so that only pg_ctl can stop it.
stop_postgres() { "${as_postgres[@]}" "$postgres/pg_ctl" -D "$work/mnt/pg" -w -m "$1" stop >/dev/null 2>&1; }
# end_postgres: where its files give nothing but errors any more, and no pg_ctl can ask it to.
end_postgres() {
  [[ -n $postmaster ]] && is_running "$postmaster" || return 0
  kill -QUIT "$postmaster" 2>/dev/null || true
  wait_until 5 postgres_ended || kill -KILL "$postmaster" 2>/dev/null || true
  wait_until 20 postgres_ended
}
postgres_ended() { ! is_running "$postmaster"; }

sql() { "${as_postgres[@]}" "$postgres/psql" -h "$work/pg" -p 5499 -Atc "$1" postgres; }
# load_accounts SCALE
load_accounts() {
  run "${bench[@]}" -i -s "$1" -q postgres >"$work/pgbench.log" 2>&1 || { tail -n 20 "$work/pgbench.log" >&2; die "pgbench -i failed"; }
}

# check_balances, check_tables, check_pages: the database is in order; the last one of a stopped server.
check_balances() {
  local consistent
  consistent=$(sql "select (select sum(abalance) from pgbench_accounts) = (select sum(bbalance) from pgbench_branches)
    and (select sum(tbalance) from pgbench_tellers) = (select sum(delta) from pgbench_history)")
  [[ $consistent == t ]] || die "the balances do not add up: $consistent"
  note "the balances of accounts, branches, tellers and history add up"
}
check_tables() {
  run "${as_postgres[@]}" "$postgres/pg_amcheck" -h "$work/pg" -p 5499 --install-missing --heapallindexed postgres >"$work/amcheck.log" 2>&1 ||
    { tail -n 20 "$work/amcheck.log" >&2; die "amcheck found damage"; }
  note "amcheck: every table and every index is in order"
}
check_pages() {
  run "${as_postgres[@]}" "$postgres/pg_checksums" -D "$work/mnt/pg" --check >"$work/checksums.log" 2>&1 ||
    { tail -n 20 "$work/checksums.log" >&2; die "page checksums are wrong"; }
  note "every page checksum is right: $(sed -n 's/^Blocks scanned: */blocks scanned: /p' "$work/checksums.log")"
}
