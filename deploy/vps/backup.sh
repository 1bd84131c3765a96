#!/usr/bin/env bash
# Writes all of a database into a compressed file while the service goes on, and removes those older than two weeks.
#
#   backup.sh OPTIONS DATABASE FOLDER
#
# OPTIONS is a file with the client's account, as MySQL and MariaDB read it: [client], host=, user=, password=
set -euo pipefail
options=$1 database=$2 folder=$3
umask 077
dump=$(command -v mariadb-dump || command -v mysqldump)
file=$folder/$database-$(date -u +%Y%m%dT%H%M%SZ).sql.gz
# Incomplete until it has its name.
trap 'rm -f "$file.part"' EXIT
# One transaction sees all tables at the same moment, and locks none.
"$dump" --defaults-extra-file="$options" --single-transaction --quick --hex-blob --no-tablespaces "$database" |
  gzip >"$file.part"
mv "$file.part" "$file"
find "$folder" -name "$database-*.sql.gz" -mtime +14 -delete
echo "$file"
