-- The first half of the story that `make demo-offsite` tells (psql -e): copies go to another place. The server "offsite" and
-- the key for it (CREATE SERVER, CREATE USER MAPPING) are there already; no call below names a secret.
\set QUIET on
\pset footer off
\pset null -

\echo '=== 1. A backup on the disk of the database is half a backup.'

SELECT count(*) AS tables, sum(row_count) AS rows, pg_size_pretty(sum(size_bytes)) AS stored, min(status) AS status
FROM agent_backup.backup();

\echo '=== 2. A place for copies: any store that speaks S3, or a directory of another disk.'

SELECT agent_backup.add_destination('agent_sdk', :'url');

\echo '=== 3. Send what is not there yet. The manifest goes last: with it the copy is a backup.'

SELECT regexp_replace(object_key, '^.*/', '') AS object, action, pg_size_pretty(size_bytes) AS size
FROM agent_backup.upload();

\echo '=== 4. Once more: what is there is not sent again, so a call that was cut short is simply repeated.'

SELECT regexp_replace(object_key, '^.*/', '') AS object, action FROM agent_backup.upload();

\echo '=== 5. Is what came there what was sent? All of it is read back. And this is what the tables hold on their last day:'

SELECT level, status, pg_size_pretty(size_bytes) AS size, details FROM agent_backup.verify_offsite(level => 'read');
SELECT table_name, live_rows, status FROM agent_backup.assess() ORDER BY 1;
