-- The story that `make demo` tells (psql -e): a backup made, looked at, and one table sent elsewhere.
-- It can be told again on the same database. Read from standard input (psql -e < story.sql), the NOTICE lines come without a file name.
\set QUIET on
\pset footer off
\pset null -

\echo '=== 1. What is to be backed up: the set agent_sdk is there at once, with eight tables.'

SELECT m.ordinal AS n, m.table_name, coalesce(m.formats, s.formats) AS formats
FROM agent_backup.set_tables m JOIN agent_backup.sets s USING (set_name)
WHERE set_name = 'agent_sdk' ORDER BY m.ordinal;

\echo '=== 2. Back it up. One snapshot, one file; the application goes on working meanwhile.'

SELECT table_name, status, row_count,
       pg_size_pretty(size_bytes) AS stored, left(checksum, 12) AS checksum
FROM agent_backup.backup();

\echo '=== 3. What backups are there?'

SELECT to_char(finished_at, 'HH24:MI:SS') AS finished, set_name, status, tables, row_count,
       pg_size_pretty(size_bytes) AS size
FROM agent_backup.backups ORDER BY finished_at DESC LIMIT 3;

\echo '=== 4. Its files, below agent_backup.directory: any tar, jq or psql reads them.'

SELECT f.name, pg_size_pretty((pg_stat_file(path)).size) AS size
FROM (SELECT backup_file, manifest_file FROM agent_backup.backups ORDER BY finished_at DESC LIMIT 1) b,
     unnest(ARRAY[backup_file, manifest_file]) AS path,
     LATERAL (SELECT regexp_replace(path, '^.*/', '') AS name) f;

\echo '=== 5. One table for a colleague: JSON, compressed by the ending of its name.'

SELECT table_name, row_count, pg_size_pretty(size_bytes) AS size,
       regexp_replace(export_file, '^.*/', '') AS file
FROM agent_backup.export_table('AgentFeedback', 'json',
     'feedback_' || to_char(clock_timestamp(), 'HH24MISSMS') || '.json.gz');

\echo '=== 6. Fingers slip. The hint knows what was meant.'

\set ON_ERROR_STOP off
SELECT agent_backup.export_table('agent_feedbak');
\set ON_ERROR_STOP on

\echo '=== 7. A set of your own: no expired approvals, and no addresses in the file.'

SELECT agent_backup.drop_set('mine', confirm => true)
FROM agent_backup.sets WHERE set_name = 'mine';
SELECT agent_backup.create_set('mine', formats => '{csv}');
SELECT agent_backup.add_table('mine', 'agent_approvals',
    row_filter     => 'status <> ''expired''',
    masked_columns => '{"customer_email": "''***@'' || split_part(customer_email, ''@'', 2)"}');
SELECT table_name, status, row_count FROM agent_backup.backup('mine');

\echo '=== 8. Is the backup any good? Every row of it is read and digested.'

SELECT check_name, status, count(*) AS findings, sum(row_count) AS rows
FROM agent_backup.verify() GROUP BY check_name, status ORDER BY 1;

\echo '=== 9. The wrong statement at the wrong time. What is it that we lost?'

DELETE FROM agent_approvals WHERE priority = 5;
UPDATE "AgentQuery" SET query = 'oops' WHERE id <= 3;

SELECT table_name, status, missing, changed, live_rows, backup_rows
FROM agent_backup.assess() WHERE status <> 'ok';

SELECT change, key, columns, left(backup_row ->> 'query', 24) AS was, live_row ->> 'query' AS is_now
FROM agent_backup.diff('AgentQuery') WHERE 'query' = ANY (columns) LIMIT 3;

\echo '=== 10. What would a restore do? Without confirm it only says so.'

SELECT table_name, action, row_count, status,
       regexp_replace(details, '^(.{0,38}) .*$', '\1 ..') AS details
FROM agent_backup.restore_plan();

\echo '=== 11. Do it: all tables or none, compared with the digests, what is there saved first.'

SELECT table_name, action, row_count, status,
       regexp_replace(details, '^(.{0,32}) .*$', '\1 ..') AS details
FROM agent_backup.restore(confirm => true);

SELECT verification_status, row_count_match, checksum_match
FROM verify_backup('latest:agent_approvals', 'agent_approvals');

\echo '=== 12. One record, by its key.'

DELETE FROM data_quality_log WHERE id = 1;
SELECT table_name, key, status, details FROM agent_backup.restore_record('data_quality_log', '1');

\echo '=== 13. Would all of it come back in time? A drill beside the live tables.'

SELECT step, object, row_count, to_char(duration, 'SS.MS') AS seconds, status,
       regexp_replace(details, '^(.{0,20}) .*$', '\1 ..') AS details
FROM agent_backup.drill();

\echo '=== 14. Every change from now on: a deleted record comes back from the log, no backup needed.'

SELECT table_name, level, left(details, 40) AS details FROM agent_backup.track('AgentFeedback');
\timing on
DELETE FROM "AgentFeedback" WHERE id = 42;
SELECT table_name, key, status FROM agent_backup.restore_record('AgentFeedback', '42');
\timing off
SELECT operation, changed_by, application_name, left(coalesce(new_row, old_row)::text, 60) AS record
FROM agent_backup.record_history('AgentFeedback', '42');

\echo '=== 15. An agent ran wild. Take back what it did since the mark, and nothing else.'

SELECT agent_backup.drop_mark(mark_name) IS NOT NULL AS dropped
FROM agent_backup.marks WHERE mark_name = 'before the agent';
SELECT agent_backup.mark('before the agent') IS NOT NULL AS marked;
SET application_name = 'agent';
DELETE FROM "AgentFeedback" WHERE id % 3 = 0;
RESET application_name;
SELECT table_name, action, row_count, status
FROM agent_backup.undo('before the agent', application_name => 'agent', confirm => true);

\echo '=== 16. A job: what pg_cron calls every night. It logs how it ended, and fails where a part of it failed.'

CALL agent_backup.run_job('daily');
CALL agent_backup.run_job('verify');
SELECT job, status, summary FROM agent_backup.job_runs ORDER BY run_id;

\echo '=== 17. Let pg_cron do it from now on.'

SELECT coalesce(current_setting('cron.database_name', true) = current_database(), false) AS has_pg_cron \gset
\if :has_pg_cron
CREATE EXTENSION IF NOT EXISTS pg_cron;
SELECT job, schedule, next_run, action FROM agent_backup.schedule();
\else
\echo 'There is no pg_cron in this database.'
\endif

\echo '=== 18. What stays, and why?'

SELECT left(backup_id, 16) AS backup, kind, keep, left(array_to_string(reasons, '; '), 58) AS reasons
FROM agent_backup.retention_plan();

\echo '=== 19. The morning after: is all well, are the objectives met, what is proved?'

SELECT severity, left(subject, 36) AS subject, left(reason, 50) AS reason FROM agent_backup.health;

SELECT * FROM agent_backup.backup_status LIMIT 8;

SELECT scenario, rto_objective AS rto, rto_measured AS took, rpo_objective AS rpo, rpo_now, met
FROM agent_backup.rpo_rto_report WHERE set_name = 'agent_sdk';

SELECT item, status, left(evidence, 46) AS evidence FROM agent_backup.checklist WHERE set_name = 'agent_sdk';

\echo '=== 20. A customer asks to be forgotten: found everywhere, erased everywhere, and gone for good.'

SELECT agent_backup.set_subject_columns('agent_sdk', 'agent_approvals', '{customer_email}') AS subjects_in;
SELECT backup_id AS older FROM agent_backup.backups
WHERE set_name = 'agent_sdk' AND status = 'complete' ORDER BY started_at LIMIT 1 \gset
SELECT customer_email AS customer
FROM agent_backup.read_backup(NULL::agent_approvals, :'older') AS r
WHERE customer_email IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1 \gset
-- The application's part.
DELETE FROM agent_approvals WHERE customer_email = :'customer';
SELECT place, count(*) AS places, sum(row_count) AS row_count, action
FROM agent_backup.erase_subject('customer_email', :'customer',
                                'request of the customer', confirm => true)
GROUP BY place, action ORDER BY place, action;
SELECT status, rows_removed, files_rewritten, files_left,
       left(certificate->>'erased_at', 10) AS erased,
       jsonb_array_length(certificate->'not_reachable') AS not_reachable
FROM agent_backup.erasure_log ORDER BY erased_at DESC LIMIT 1;
-- An older backup comes back, and the customer does not.
SELECT table_name, action, row_count
FROM agent_backup.restore_table('agent_approvals', :'older', mode => 'missing_only',
                                confirm => true)
WHERE row_count IS NOT NULL;
SELECT count(*) AS rows_of_the_customer FROM agent_approvals WHERE customer_email = :'customer';
