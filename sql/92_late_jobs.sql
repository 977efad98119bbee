-- Which jobs are late: by how often a job of its kind is expected.
CREATE VIEW agent_backup.late_jobs AS
WITH moment AS MATERIALIZED (
    SELECT agent_backup.clock() AS now
), expected AS (
    SELECT j.set_name, j.job, j.scheduled_at,
           CASE j.job WHEN 'hourly' THEN interval '1 hour' WHEN 'weekly' THEN interval '7 days' WHEN 'monthly' THEN interval '31 days'
                ELSE interval '1 day' END AS period
      FROM agent_backup.scheduled_jobs j
)
SELECT e.set_name, e.job, e.scheduled_at, COALESCE(r.started_at, e.scheduled_at) + e.period * 1.5 AS due_at,
       r.status, r.started_at, r.finished_at, r.error_message, moment.now,
       moment.now > COALESCE(r.started_at, e.scheduled_at) + e.period * 1.5 AS overdue,
       NULL::boolean AS active,
       r.status = 'running' AND NOT pg_catalog.pg_is_in_recovery() AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid = r.pid) AS died
  FROM expected e
 CROSS JOIN moment
  LEFT JOIN LATERAL (
       SELECT x.* FROM agent_backup.job_runs x
        WHERE x.set_name = e.set_name AND x.job = e.job ORDER BY x.started_at DESC LIMIT 1) AS r ON true;
COMMENT ON VIEW agent_backup.late_jobs IS 'Scheduled jobs, their last runs, and whether they are late';
COMMENT ON COLUMN agent_backup.late_jobs.set_name IS 'The set';
COMMENT ON COLUMN agent_backup.late_jobs.job IS 'The job';
COMMENT ON COLUMN agent_backup.late_jobs.scheduled_at IS 'When it was scheduled';
COMMENT ON COLUMN agent_backup.late_jobs.due_at IS 'When the next run should have begun';
COMMENT ON COLUMN agent_backup.late_jobs.status IS 'running, success or failed; null where it never ran';
COMMENT ON COLUMN agent_backup.late_jobs.started_at IS 'When the last run began';
COMMENT ON COLUMN agent_backup.late_jobs.finished_at IS 'When it ended';
COMMENT ON COLUMN agent_backup.late_jobs.error_message IS 'Why it failed';
COMMENT ON COLUMN agent_backup.late_jobs.now IS 'The moment that it was judged at';
COMMENT ON COLUMN agent_backup.late_jobs.overdue IS 'Whether it is later than that';
COMMENT ON COLUMN agent_backup.late_jobs.active IS 'Whether pg_cron still has it; null where that cannot be seen';
COMMENT ON COLUMN agent_backup.late_jobs.died IS 'Whether the session of a run that has not ended is gone';
GRANT SELECT ON agent_backup.late_jobs TO agent_backup_operator;
