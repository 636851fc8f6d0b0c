# shellcheck shell=bash
# PostgreSQL: one cluster, reached by a socket (main) and over loopback with passwords (other).

build_postgres() {
    step=PostgreSQL
    say "PostgreSQL from $PG_BIN"
    mkdir_of_account pg barman
    PG_DATA=$dir/pg/data PGHOST=$dir/run PGUSER=postgres PGDATABASE=postgres LAB_TABLE=stock LAB_ROWS=1000
    PGPORT=$(free_port)
    PG_VERSION=$("$PG_BIN/postgres" --version | grep -oE '[0-9]+(\.[0-9]+)*' | head -n 1)
    # Small WAL segments: hundreds of backups shall not fill the disk.
    quietly initdb as_lab "$PG_BIN/initdb" -D "$PG_DATA" -U "$PGUSER" -E UTF8 --locale=C.UTF-8 --no-sync --wal-segsize=1 \
        --auth-local=trust --auth-host=scram-sha-256
    # Both exist before the first segment is ready: a failing archive_command is not tried again for a minute.
    as_lab mkdir -p "$dir/pg/outgoing" "$dir/barman/main/incoming"
    # A WAL segment is copied beside and then moved: Barman never sees half of one.
    as_lab tee -a "$PG_DATA/postgresql.conf" >/dev/null <<CONF

# Of the lab
listen_addresses = '127.0.0.1'
port = $PGPORT
unix_socket_directories = '$PGHOST'
unix_socket_permissions = 0700
wal_level = replica
archive_mode = on
archive_command = 'cp "%p" "$dir/pg/outgoing/%f" && mv "$dir/pg/outgoing/%f" "$dir/barman/main/incoming/%f"'
max_wal_senders = 20
max_replication_slots = 20
max_connections = 100
shared_buffers = 32MB
password_encryption = scram-sha-256
# Nothing here needs to survive a power loss.
fsync = off
full_page_writes = on
CONF
    quietly "PostgreSQL starts" as_lab "$PG_BIN/pg_ctl" -D "$PG_DATA" -l "$dir/pg/postgres.log" -w -t 60 start
    OTHER_PASSWORD=$(random_password)
    OTHER_STREAMING_PASSWORD=$(random_password)
    as_lab tee "$dir/pg/roles.sql" >/dev/null <<SQL
CREATE ROLE barman LOGIN SUPERUSER PASSWORD '$OTHER_PASSWORD';
CREATE ROLE streaming LOGIN REPLICATION PASSWORD '$OTHER_STREAMING_PASSWORD';
CREATE TABLE $LAB_TABLE (id integer PRIMARY KEY, name text NOT NULL, amount numeric NOT NULL);
INSERT INTO $LAB_TABLE SELECT n, 'article ' || n, n * 1.5 FROM generate_series(1, $LAB_ROWS) AS n;
SQL
    quietly "roles and rows" psql_as_lab -v ON_ERROR_STOP=1 -f "$dir/pg/roles.sql"
    as_lab rm "$dir/pg/roles.sql"
}

psql_as_lab() { as_lab "$PG_BIN/psql" -X -q -h "$PGHOST" -p "$PGPORT" -U "$PGUSER" -d "$PGDATABASE" "$@"; }

postgres_answers() { [[ $(psql_as_lab -At -c "SELECT count(*) FROM $LAB_TABLE" 2>/dev/null) -ge 0 ]] 2>/dev/null; }

stop_postgres() {
    [[ -n ${PG_DATA:-} && -f $PG_DATA/postmaster.pid ]] || return 0
    as_lab "$PG_BIN/pg_ctl" -D "$PG_DATA" -m immediate -w -t 20 stop >/dev/null 2>&1 || true
}
