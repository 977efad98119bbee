-- The second half: a new server that has nothing but the store.
\set QUIET on
\pset footer off
\pset null -

\echo '=== 7. The new server: no tables, no backups.'

SELECT (SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tableowner <> 'postgres') AS tables,
       (SELECT count(*) FROM agent_backup.backups) AS backups;

\echo '=== 8. It lists what the store has, as if it stood here.'

SELECT regexp_replace(backup_file, '^.*/', '') AS backup, action, details
FROM agent_backup.import_offsite(:'url', server_name => 'offsite');

\echo '=== 9. And restores straight from there: tables, rows, keys, policies, triggers. Roles are of the whole server, so they come first.'

CREATE ROLE demo_owner;
CREATE ROLE demo_app;
CREATE ROLE demo_auditor;
SELECT table_name, action, row_count, status
FROM agent_backup.restore(create_missing => true, confirm => true)
WHERE row_count IS NOT NULL OR status <> 'done';

\echo '=== 10. Is it the same, row for row?'

SELECT table_name, v.verification_status, v.details ->> 'original_rows' AS rows
FROM agent_backup.set_tables, verify_backup('latest:' || quote_ident(table_name), quote_ident(table_name)) AS v
WHERE set_name = 'agent_sdk' ORDER BY ordinal;

\echo '=== 11. No file came to this disk on the way.'

SELECT count(*) AS files FROM pg_ls_dir(current_setting('data_directory') || '/agent_backup', true, false) AS name
WHERE name <> 'restore_safety';
