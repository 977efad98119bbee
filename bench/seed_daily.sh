#!/bin/bash
# The seed's daily script: per table a CSV through psql and a JSON by the server, one session each, then tar -czf.
# What differs: BACKUP_DIR, DATE and the tables are arguments, and JSON is one row_to_json a line, since the seed's
# jsonb_agg of a whole table fails beyond 256 MB of JSON ("total size of jsonb array elements exceeds …").
set -e

BACKUP_DIR=$1
DATE=$2
shift 2
TIMESTAMP=$(date +%Y%m%d_%H%M%S)

mkdir -p "$BACKUP_DIR/$DATE"
for table in "$@"; do
    "$PSQL" -X -q -c "\COPY (SELECT * FROM \"$table\") TO '$BACKUP_DIR/$DATE/${table}_$TIMESTAMP.csv' CSV HEADER"
    "$PSQL" -X -q -c "COPY (SELECT row_to_json(t.*) FROM \"$table\" t) TO '$BACKUP_DIR/$DATE/${table}_$TIMESTAMP.json'"
done

cd "$BACKUP_DIR"
tar -czf "agent_sdk_backup_$DATE.tar.gz" "$DATE/"
