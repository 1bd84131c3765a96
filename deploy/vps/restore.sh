#!/usr/bin/env bash
# Restores a backup into an empty database.
#
#   restore.sh OPTIONS DATABASE FILE
#
# Then empty Redis (redis-cli FLUSHDB), migrate, and start the processes: see docs/deploying.md.
set -euo pipefail
options=$1 database=$2 file=$3
client=$(command -v mariadb || command -v mysql)
gzip --test "$file"
tables=$("$client" --defaults-extra-file="$options" --skip-column-names --batch \
  --execute="SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '$database'")
if [ "$tables" != 0 ]; then
  echo "the database $database has $tables tables: restore into an empty one" >&2
  exit 1
fi
gzip --decompress --stdout "$file" | "$client" --defaults-extra-file="$options" "$database"
