-- The same facts for a monitoring system, as OpenMetrics text.
CREATE VIEW agent_backup.metric_samples AS
WITH moment AS MATERIALIZED (
    SELECT agent_backup.clock() AS now
), newest AS MATERIALIZED (
    SELECT s.set_name, b.*, v.verification_status AS verdict, v.verified_at AS verdict_at
      FROM agent_backup.sets s
      LEFT JOIN LATERAL (
           SELECT g.started_at, g.finished_at, g.row_count, g.size_bytes FROM agent_backup.good_backups g
            WHERE g.set_name = s.set_name ORDER BY g.started_at DESC LIMIT 1) AS b ON true
      LEFT JOIN LATERAL (
           SELECT c.verification_status, c.verified_at FROM agent_backup.backup_catalog c
            WHERE c.set_name = s.set_name AND c.kind IN ('full', 'archive') AND c.verified_at IS NOT NULL
            ORDER BY c.started_at DESC LIMIT 1) AS v ON true
), last_run AS (
    SELECT DISTINCT ON (r.set_name, r.job) r.set_name, r.job, r.started_at, r.finished_at FROM agent_backup.job_runs r
     WHERE r.finished_at IS NOT NULL ORDER BY r.set_name, r.job, r.started_at DESC
), last_drill AS (
    SELECT DISTINCT ON (d.set_name) d.set_name, d.status, d.started_at, d.duration FROM agent_backup.drills d ORDER BY d.set_name, d.started_at DESC
)
-- Not COALESCE around GREATEST, which passes over a null: no backup would be one of this moment.
SELECT 'agent_backup_backups' AS family, pg_catalog.jsonb_build_object('set', c.set_name, 'kind', c.kind, 'status', c.status) AS labels,
       pg_catalog.count(*)::double precision AS value
  FROM agent_backup.backup_catalog c GROUP BY c.set_name, c.kind, c.status
UNION ALL
SELECT 'agent_backup_stored_bytes', pg_catalog.jsonb_build_object('set', c.set_name), pg_catalog.sum(c.size_bytes)::double precision
  FROM agent_backup.backup_catalog c GROUP BY c.set_name
UNION ALL
SELECT x.family, pg_catalog.jsonb_build_object('set', n.set_name), x.value
  FROM newest n
 CROSS JOIN moment
 CROSS JOIN LATERAL (VALUES
       ('agent_backup_last_good_age_seconds', CASE WHEN n.started_at IS NULL THEN 'Infinity' ELSE GREATEST(EXTRACT(epoch FROM moment.now - n.started_at), 0)::double precision END),
       ('agent_backup_last_good_size_bytes', n.size_bytes::double precision),
       ('agent_backup_last_good_rows', n.row_count::double precision),
       ('agent_backup_last_good_duration_seconds', EXTRACT(epoch FROM n.finished_at - n.started_at)::double precision),
       ('agent_backup_last_verification_passed', CASE n.verdict WHEN 'failed' THEN 0 ELSE 1 END),
       ('agent_backup_last_verification_age_seconds', CASE WHEN n.verdict_at IS NULL THEN 'Infinity' ELSE GREATEST(EXTRACT(epoch FROM moment.now - n.verdict_at), 0)::double precision END)) AS x(family, value)
 WHERE x.value IS NOT NULL AND (n.verdict IS NOT NULL OR x.family <> 'agent_backup_last_verification_passed')
UNION ALL
SELECT 'agent_backup_job_runs', pg_catalog.jsonb_build_object('set', r.set_name, 'job', r.job, 'status', r.status), pg_catalog.count(*)::double precision
  FROM agent_backup.job_runs r WHERE r.status <> 'running' GROUP BY r.set_name, r.job, r.status
UNION ALL
SELECT 'agent_backup_job_last_duration_seconds', pg_catalog.jsonb_build_object('set', r.set_name, 'job', r.job),
       EXTRACT(epoch FROM r.finished_at - r.started_at)::double precision
  FROM last_run r
UNION ALL
SELECT 'agent_backup_jobs_overdue', pg_catalog.jsonb_build_object('set', s.set_name),
       (SELECT pg_catalog.count(*) FROM agent_backup.late_jobs j WHERE j.set_name = s.set_name AND j.overdue)::double precision
  FROM agent_backup.sets s
UNION ALL
SELECT 'agent_backup_table_rpo_seconds', pg_catalog.jsonb_build_object('set', t.set_name, 'table', CASE t.schema_name WHEN 'public' THEN '' ELSE t.schema_name || '.' END || t.table_name),
       CASE WHEN t.recoverable_at IS NULL THEN 'Infinity' ELSE GREATEST(EXTRACT(epoch FROM t.now - t.recoverable_at), 0)::double precision END
  FROM agent_backup.recovery_state t WHERE t.relation IS NOT NULL
UNION ALL
SELECT x.family, pg_catalog.jsonb_build_object('set', d.set_name), x.value
  FROM last_drill d
 CROSS JOIN moment
 CROSS JOIN LATERAL (VALUES
       ('agent_backup_drill_passed', CASE d.status WHEN 'failed' THEN 0 ELSE 1 END),
       ('agent_backup_drill_duration_seconds', EXTRACT(epoch FROM d.duration)::double precision),
       ('agent_backup_drill_age_seconds', EXTRACT(epoch FROM GREATEST(moment.now - d.started_at, '0'))::double precision)) AS x(family, value)
UNION ALL
SELECT x.family, '{}', x.value
  FROM agent_backup.disk_state() AS d
 CROSS JOIN LATERAL (VALUES
       ('agent_backup_disk_free_bytes', d.free_bytes::double precision),
       ('agent_backup_disk_total_bytes', d.total_bytes::double precision),
       ('agent_backup_disk_used_bytes', d.used_by_backups_bytes::double precision)) AS x(family, value)
 WHERE x.value IS NOT NULL
UNION ALL
SELECT 'agent_backup_capture_gaps', pg_catalog.jsonb_build_object('table', CASE t.schema_name WHEN 'public' THEN '' ELSE t.schema_name || '.' END || t.table_name),
       (SELECT pg_catalog.count(*) FROM agent_backup.capture_gaps g WHERE g.tracked_id = t.tracked_id AND g.noted_at > moment.now - interval '30 days')::double precision
  FROM agent_backup.tracked t CROSS JOIN moment WHERE t.ended_at IS NULL
UNION ALL
SELECT 'agent_backup_log_rows', '{}', COALESCE(pg_catalog.sum(GREATEST(c.reltuples, 0)), 0)::double precision
  FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'agent_backup.change_log'::pg_catalog.regclass
UNION ALL
SELECT 'agent_backup_offsite_copies', pg_catalog.jsonb_build_object('set', k.set_name, 'destination', k.destination, 'status', k.status), pg_catalog.count(*)::double precision
  FROM agent_backup.offsite_catalog k GROUP BY k.set_name, k.destination, k.status
UNION ALL
SELECT 'agent_backup_offsite_age_seconds', pg_catalog.jsonb_build_object('set', k.set_name, 'destination', k.destination),
       CASE WHEN k.newest IS NULL THEN 'Infinity' ELSE GREATEST(EXTRACT(epoch FROM moment.now - k.newest), 0)::double precision END
  FROM (SELECT c.set_name, c.destination, pg_catalog.max(c.started_at)
               FILTER (WHERE c.status IN ('complete', 'retained') AND c.verification_status IS DISTINCT FROM 'failed') AS newest
          FROM agent_backup.offsite_catalog c GROUP BY c.set_name, c.destination) AS k
 CROSS JOIN moment
UNION ALL
SELECT 'agent_backup_audit_entries', '{}', c.last_entry::double precision FROM agent_backup.audit_chain c
UNION ALL
SELECT x.family, '{}', x.value
  FROM (SELECT k.* FROM agent_backup.audit_checks k ORDER BY k.check_id DESC LIMIT 1) AS c
 CROSS JOIN moment
 CROSS JOIN LATERAL (VALUES
       ('agent_backup_audit_verification_passed', CASE c.status WHEN 'failed' THEN 0 ELSE 1 END::double precision),
       ('agent_backup_audit_verification_age_seconds', EXTRACT(epoch FROM GREATEST(moment.now - c.checked_at, '0'))::double precision)) AS x(family, value)
UNION ALL
SELECT 'agent_backup_health', pg_catalog.jsonb_build_object('severity', s.severity), pg_catalog.count(h.severity)::double precision
  FROM (VALUES ('OK'), ('WARNING'), ('FAILED')) AS s(severity) LEFT JOIN agent_backup.health h ON h.severity = s.severity
 GROUP BY s.severity;
COMMENT ON VIEW agent_backup.metric_samples IS 'Numbers for a monitoring system, as metrics() writes them';
COMMENT ON COLUMN agent_backup.metric_samples.family IS 'What is measured; the end of the name is the unit';
COMMENT ON COLUMN agent_backup.metric_samples.labels IS 'Of what';
COMMENT ON COLUMN agent_backup.metric_samples.value IS 'How much; Infinity for an age without an end';

CREATE FUNCTION agent_backup.metrics() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 AS $fn$
    WITH family(place, name, type, help) AS (VALUES
        (1, 'agent_backup_backups', 'gauge', 'Backups in the catalogue'),
        (2, 'agent_backup_stored_bytes', 'gauge', 'Bytes of the backups on disk'),
        (3, 'agent_backup_last_good_age_seconds', 'gauge', 'Age of the newest good backup, infinite where there is none'),
        (4, 'agent_backup_last_good_size_bytes', 'gauge', 'Size of the newest good backup'),
        (5, 'agent_backup_last_good_rows', 'gauge', 'Rows in the newest good backup'),
        (6, 'agent_backup_last_good_duration_seconds', 'gauge', 'Time that the newest good backup took'),
        (7, 'agent_backup_last_verification_passed', 'gauge', 'Whether the newest backup that was verified is whole: 1 or 0'),
        (8, 'agent_backup_last_verification_age_seconds', 'gauge', 'Time since that verification, infinite where there was none'),
        (9, 'agent_backup_job_runs', 'counter', 'Runs of jobs that ended'),
        (10, 'agent_backup_job_last_duration_seconds', 'gauge', 'Time that the last run of a job took'),
        (11, 'agent_backup_jobs_overdue', 'gauge', 'Scheduled jobs that did not run when they should have'),
        (12, 'agent_backup_table_rpo_seconds', 'gauge', 'Time whose changes of a table would be lost now, infinite for all'),
        (13, 'agent_backup_drill_passed', 'gauge', 'Whether the last recovery drill restored the data: 1 or 0'),
        (14, 'agent_backup_drill_duration_seconds', 'gauge', 'Time that the last recovery drill took'),
        (15, 'agent_backup_drill_age_seconds', 'gauge', 'Time since the last recovery drill'),
        (16, 'agent_backup_disk_free_bytes', 'gauge', 'Free space on the disk of the backups'),
        (17, 'agent_backup_disk_total_bytes', 'gauge', 'Size of the disk of the backups'),
        (18, 'agent_backup_disk_used_bytes', 'gauge', 'Bytes of all files in the directory of the backups'),
        (19, 'agent_backup_capture_gaps', 'gauge', 'Gaps of the last 30 days in the captured changes of a table'),
        (20, 'agent_backup_log_rows', 'gauge', 'Captured changes in the log, as the server estimates'),
        (21, 'agent_backup_audit_entries', 'gauge', 'Entries of the log of acts'),
        (22, 'agent_backup_audit_verification_passed', 'gauge', 'Whether the log of acts was whole when it was last verified: 1 or 0'),
        (23, 'agent_backup_audit_verification_age_seconds', 'gauge', 'Time since that verification'),
        (24, 'agent_backup_health', 'gauge', 'Rows of the view health'),
        (25, 'agent_backup_offsite_copies', 'gauge', 'Copies of backups in other places'),
        (26, 'agent_backup_offsite_age_seconds', 'gauge', 'Age of the newest good copy in a place, infinite where there is none')
    ), line AS (
        SELECT f.place, f.name, f.type, f.help, s.labels,
               format('%s%s%s %s', f.name, CASE f.type WHEN 'counter' THEN '_total' ELSE '' END,
                      (SELECT '{' || string_agg(format('%s="%s"', l.key, replace(replace(replace(l.value, '\', '\\'), '"', '\"'), E'\n', '\n')), ',' ORDER BY l.key) || '}'
                         FROM jsonb_each_text(s.labels) AS l),
                      CASE s.value WHEN 'Infinity' THEN '+Inf' ELSE s.value::text END) AS text
          FROM family f JOIN agent_backup.metric_samples s ON s.family = f.name
    )
    SELECT string_agg(b.text, E'\n' ORDER BY b.place) || E'\n# EOF\n'
      FROM (SELECT l.place,
                   concat_ws(E'\n', format('# HELP %s %s', l.name, l.help), format('# TYPE %s %s', l.name, l.type),
                             format('# UNIT %s ', l.name) || substring(l.name FROM '_(seconds|bytes)$'),
                             string_agg(l.text, E'\n' ORDER BY l.labels)) AS text
              FROM line l GROUP BY l.place, l.name, l.type, l.help) AS b
$fn$;
