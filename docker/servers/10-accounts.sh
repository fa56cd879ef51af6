#!/bin/sh
# Runs once on each of the three servers, before it takes connections from elsewhere: the same accounts on all,
# and none of it in the binary log, so that the replicas begin where the primary begins.
set -eu

# Passwords stand in SQL strings: a quote or a backslash must be doubled.
quoted() {
    printf "'%s'" "$(printf '%s' "$1" | sed -e 's/\\/\\\\/g' -e "s/'/''/g")"
}

mariadb --user=root --password="$MARIADB_ROOT_PASSWORD" <<SQL
SET SESSION sql_log_bin = 0;
CREATE USER 'replication'@'%' IDENTIFIED BY $(quoted "$REPLICATION_PASSWORD");
GRANT REPLICATION SLAVE ON *.* TO 'replication'@'%';
CREATE USER 'clonelove'@'%' IDENTIFIED BY $(quoted "$CLONELOVE_MONITOR_PASSWORD");
GRANT SLAVE MONITOR ON *.* TO 'clonelove'@'%';
RESET MASTER;
SQL

if [ -n "${PRIMARY:-}" ]; then
    # Replication begins when the server starts for good.
    mariadb --user=root --password="$MARIADB_ROOT_PASSWORD" <<SQL
SET SESSION sql_log_bin = 0;
CHANGE MASTER TO MASTER_HOST = $(quoted "$PRIMARY"), MASTER_PORT = 3306, MASTER_USER = 'replication',
    MASTER_PASSWORD = $(quoted "$REPLICATION_PASSWORD"), MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 2;
SQL
fi
