-- What a person looks at every morning: recent backups, and the checklist.

-- Not by its name in a view: the log may be a table of the application, which is free to change it.
CREATE FUNCTION agent_backup.recent_verifications(since date)
RETURNS TABLE (backup_date date, table_name text, verification_status text, row_count bigint, size_bytes bigint, backup_id text, verified_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $fn$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT l.backup_date, l.table_name::text, l.verification_status::text, l.row_count::bigint, l.size_bytes, l.backup_id, l.verified_at::timestamptz
          FROM @extschema@.backup_verification_log l
         WHERE (l.backup_date > since OR l.verified_at > since) AND l.details ->> 'destination' IS NULL;
END
$fn$;

CREATE VIEW agent_backup.backup_status AS
WITH window_start AS MATERIALIZED (
    SELECT (agent_backup.clock() AT TIME ZONE 'UTC')::date - 7 AS since
), logged AS MATERIALIZED (
    SELECT DISTINCT ON (v.table_name, v.backup_date, v.backup_id)
           v.backup_date, v.table_name, v.verification_status, v.row_count, v.size_bytes, v.backup_id
      FROM window_start w, LATERAL agent_backup.recent_verifications(w.since) AS v
     ORDER BY v.table_name, v.backup_date, v.backup_id, v.verified_at DESC, v.verification_status
), unlogged AS (
    SELECT (c.started_at AT TIME ZONE 'UTC')::date AS backup_date,
           CASE e.schema_name WHEN 'public' THEN e.table_name ELSE e.schema_name || '.' || e.table_name END AS table_name,
           'not verified' AS verification_status, pg_catalog.max(e.row_count) AS row_count, pg_catalog.sum(e.stored_bytes)::bigint AS size_bytes, c.backup_id
      FROM window_start w
      JOIN agent_backup.backup_catalog c ON c.started_at >= (w.since + 1)::timestamp AT TIME ZONE 'UTC' AND c.kind IN ('full', 'archive')
      JOIN agent_backup.backup_entry e USING (backup_id)
     WHERE NOT EXISTS (SELECT FROM logged l WHERE l.backup_id = c.backup_id)
     GROUP BY c.backup_id, c.started_at, e.schema_name, e.table_name
)
SELECT s.backup_date, s.table_name, s.verification_status, s.row_count, pg_catalog.pg_size_pretty(s.size_bytes) AS backup_size
  FROM (SELECT * FROM logged UNION ALL SELECT * FROM unlogged) AS s
 ORDER BY s.backup_date DESC, s.table_name, s.backup_id DESC;
COMMENT ON VIEW agent_backup.backup_status IS 'Tables in the backups of the last seven days and what verification said last, newest first; a table without a good backup at the end';
COMMENT ON COLUMN agent_backup.backup_status.backup_date IS 'Day of the backup in UTC; of one that is damaged or missing, that of the last good one, or -infinity';
COMMENT ON COLUMN agent_backup.backup_status.table_name IS 'The table as it is spelt, with its schema unless that is public';
COMMENT ON COLUMN agent_backup.backup_status.verification_status IS 'success, warning, failed or not verified';
COMMENT ON COLUMN agent_backup.backup_status.row_count IS 'Rows in it';
COMMENT ON COLUMN agent_backup.backup_status.backup_size IS 'What the table takes in it';

CREATE VIEW agent_backup.checklist AS
WITH moment AS MATERIALIZED (
    SELECT agent_backup.clock() AS now
)
SELECT s.set_name, v.item, v.status, v.evidence, v.checked_at
  FROM agent_backup.sets s
 CROSS JOIN moment
  LEFT JOIN LATERAL (
       SELECT c.*, (SELECT pg_catalog.count(DISTINCT (e.schema_name, e.table_name)) FROM agent_backup.backup_entry e
                     WHERE e.backup_id = c.backup_id AND e.stored_bytes > 0) AS filled
         FROM agent_backup.backup_catalog c
        WHERE c.set_name = s.set_name AND c.kind IN ('full', 'archive') ORDER BY c.started_at DESC LIMIT 1) AS b ON true
  LEFT JOIN LATERAL (
       SELECT r.status, r.started_at, r.error_message FROM agent_backup.job_runs r
        WHERE r.set_name = s.set_name AND r.job = 'daily' AND r.status <> 'running' ORDER BY r.started_at DESC LIMIT 1) AS j ON true
  LEFT JOIN LATERAL (
       SELECT c.* FROM agent_backup.backup_catalog c
        WHERE c.set_name = s.set_name AND c.kind IN ('full', 'archive') AND c.verified_at IS NOT NULL
        ORDER BY c.started_at DESC LIMIT 1) AS k ON true
  LEFT JOIN LATERAL (
       SELECT d.* FROM agent_backup.drills d WHERE d.set_name = s.set_name ORDER BY d.started_at DESC LIMIT 1) AS d ON true
  LEFT JOIN LATERAL (
       SELECT k.*, k.verification_status = 'success' AND k.status IN ('complete', 'retained') AS is_good FROM agent_backup.offsite_catalog k
        WHERE k.set_name = s.set_name AND k.kind IN ('full', 'archive') AND k.verified_at IS NOT NULL
        ORDER BY k.started_at DESC, k.verification_status DESC LIMIT 1) AS o ON true
 CROSS JOIN LATERAL (
       SELECT pg_catalog.count(*) FILTER (WHERE x ->> 'step' = 'restore' AND x ->> 'status' = 'ok') AS restored,
              pg_catalog.count(*) FILTER (WHERE x ->> 'step' IN ('restore', 'create') AND x ->> 'status' <> 'ok') AS not_restored,
              pg_catalog.max(x ->> 'details') FILTER (WHERE x ->> 'step' = 'policies') AS policies,
              pg_catalog.min(x ->> 'status') FILTER (WHERE x ->> 'step' = 'policies') AS policies_status,
              pg_catalog.count(*) FILTER (WHERE x ->> 'step' = 'query') AS queries,
              pg_catalog.count(*) FILTER (WHERE x ->> 'step' = 'query' AND x ->> 'status' <> 'ok') AS failed_queries,
              pg_catalog.max(x ->> 'object') FILTER (WHERE x ->> 'step' = 'query' AND x ->> 'status' <> 'ok') AS failed_query,
              pg_catalog.max(x ->> 'details') FILTER (WHERE x ->> 'step' = 'quality checks') AS checks,
              pg_catalog.min(x ->> 'status') FILTER (WHERE x ->> 'step' = 'quality checks') AS checks_status
         FROM pg_catalog.jsonb_array_elements(COALESCE(d.steps, '[]')) AS x) AS t
 CROSS JOIN LATERAL (VALUES
    (1, 'Daily backup runs successfully',
     CASE WHEN b.backup_id IS NULL THEN CASE j.status WHEN 'failed' THEN 'no' ELSE 'not yet' END
          WHEN b.status = 'complete' AND moment.now - b.started_at <= s.backup_interval * 1.1 AND COALESCE(j.status = 'success' OR j.started_at < b.started_at, true)
          THEN 'yes' ELSE 'no' END,
     CASE WHEN j.status = 'failed' AND (b.backup_id IS NULL OR j.started_at >= b.started_at) THEN 'the last job failed: ' || j.error_message
          WHEN b.backup_id IS NULL THEN 'there is no backup'
          ELSE pg_catalog.format('the last one is %s, %s old', b.status, agent_backup.in_words(moment.now - b.started_at)) END,
     GREATEST(b.started_at, j.started_at)),
    (2, 'Backup files are created and non-zero',
     CASE WHEN b.backup_id IS NULL THEN 'not yet' WHEN b.size_bytes > 0 AND b.filled = b.tables AND b.status = 'complete' THEN 'yes' ELSE 'no' END,
     CASE WHEN b.backup_id IS NULL THEN 'there is no backup'
          ELSE pg_catalog.format('%s in 2 files, %s of %s tables with content%s', pg_catalog.pg_size_pretty(b.size_bytes), b.filled, b.tables,
                                 '; ' || b.error_message) END,
     b.finished_at),
    (3, 'Verification script passes',
     CASE k.verification_status WHEN 'success' THEN 'yes' WHEN 'warning' THEN 'yes' WHEN 'failed' THEN 'no' ELSE 'not yet' END,
     CASE WHEN k.backup_id IS NULL THEN 'no backup was verified'
          ELSE pg_catalog.format('%s: %s at level %s%s', k.backup_id, k.verification_status, k.verification_level,
                                 CASE WHEN k.backup_id <> b.backup_id THEN '; a newer one was not verified' END) END,
     k.verified_at),
    (4, 'Recovery drill completes in < 30 minutes',
     CASE WHEN d.drill_id IS NULL THEN 'not yet' WHEN d.status <> 'failed' AND d.duration < interval '30 minutes' THEN 'yes' ELSE 'no' END,
     CASE WHEN d.drill_id IS NULL THEN 'there was no drill'
          WHEN d.status = 'failed' THEN pg_catalog.format('drill %s failed: %s', d.drill_id, d.error_message)
          ELSE pg_catalog.format('drill %s took %s', d.drill_id, agent_backup.in_words(d.duration)) END,
     d.finished_at),
    (5, 'Row counts match after restore',
     CASE WHEN d.drill_id IS NULL THEN 'not yet' WHEN d.status <> 'failed' AND t.restored > 0 AND t.not_restored = 0 THEN 'yes' ELSE 'no' END,
     CASE WHEN d.drill_id IS NULL THEN 'there was no drill'
          WHEN d.status = 'failed' THEN pg_catalog.format('drill %s failed after %s tables', d.drill_id, t.restored)
          ELSE pg_catalog.format('%s tables with %s rows equal the backup%s', t.restored, d.row_count,
                                 CASE WHEN t.not_restored > 0 THEN pg_catalog.format(', %s could not be compared', t.not_restored) END) END,
     d.finished_at),
    (6, 'RLS policies preserved after restore',
     CASE WHEN t.policies IS NULL THEN CASE WHEN d.status = 'failed' THEN 'no' ELSE 'not yet' END WHEN t.policies_status = 'ok' THEN 'yes' ELSE 'no' END,
     CASE WHEN d.drill_id IS NULL THEN 'there was no drill' WHEN t.policies IS NULL THEN pg_catalog.format('drill %s ended before', d.drill_id)
          ELSE pg_catalog.format('policies in the drill: %s', t.policies) END,
     d.finished_at),
    (7, 'Application can query restored data',
     CASE WHEN t.queries = 0 THEN CASE WHEN d.status = 'failed' THEN 'no' ELSE 'not yet' END WHEN t.failed_queries = 0 THEN 'yes' ELSE 'no' END,
     CASE WHEN d.drill_id IS NULL THEN 'there was no drill'
          WHEN d.status = 'failed' THEN pg_catalog.format('drill %s ended before', d.drill_id)
          WHEN t.queries = 0 THEN 'no query of the application is in agent_backup.drill_queries'
          WHEN t.failed_queries > 0 THEN pg_catalog.format('%s of %s queries fail, such as %s', t.failed_queries, t.queries, t.failed_query)
          ELSE pg_catalog.format('%s queries ran', t.queries) END,
     d.finished_at),
    (8, 'Quality checks pass after restore',
     CASE WHEN t.checks IS NULL THEN CASE WHEN d.status = 'failed' THEN 'no' ELSE 'not yet' END WHEN t.checks_status = 'ok' THEN 'yes' ELSE 'no' END,
     CASE WHEN d.drill_id IS NULL THEN 'there was no drill'
          WHEN t.checks IS NULL AND d.status = 'failed' THEN pg_catalog.format('drill %s ended before', d.drill_id)
          ELSE COALESCE(t.checks, 'there is no function run_all_quality_checks()') END,
     d.finished_at),
    (9, 'A verified copy is off-site',
     CASE WHEN o.backup_id IS NULL THEN 'not yet' WHEN o.is_good AND moment.now - o.started_at <= s.backup_interval * 1.1 THEN 'yes' ELSE 'no' END,
     CASE WHEN o.backup_id IS NULL THEN 'no copy was verified'
          ELSE pg_catalog.format('%s in %s: %s at level %s, %s old', o.backup_id, o.destination, o.verification_status, o.verification_level,
                                 agent_backup.in_words(moment.now - o.started_at)) END,
     o.verified_at)) AS v(place, item, status, evidence, checked_at)
 ORDER BY s.set_name, v.place;
COMMENT ON VIEW agent_backup.checklist IS 'Nine things that must hold before backups can be relied on, each with its evidence';
COMMENT ON COLUMN agent_backup.checklist.set_name IS 'The set';
COMMENT ON COLUMN agent_backup.checklist.item IS 'What must hold';
COMMENT ON COLUMN agent_backup.checklist.status IS 'yes, no, or not yet: nothing was done that tells';
COMMENT ON COLUMN agent_backup.checklist.evidence IS 'What tells';
COMMENT ON COLUMN agent_backup.checklist.checked_at IS 'When that was';
