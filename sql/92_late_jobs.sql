-- Which jobs are late, by their schedules.
CREATE VIEW agent_backup.late_jobs AS
WITH moment AS MATERIALIZED (
    SELECT agent_backup.clock() AS now
)
SELECT s.set_name, s.job, j.scheduled_at,
       agent_backup.next_due(s.schedule, COALESCE(r.started_at, j.scheduled_at) AT TIME ZONE s.time_zone) AT TIME ZONE s.time_zone AS due_at,
       r.status, r.started_at, r.finished_at, r.error_message, moment.now, s.overdue, s.active,
       r.status = 'running' AND NOT pg_catalog.pg_is_in_recovery()
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid = r.pid AND COALESCE(a.backend_start = r.session_start, true)) AS died
  FROM agent_backup.schedules s
  JOIN agent_backup.scheduled_jobs j USING (set_name, job)
 CROSS JOIN moment
  LEFT JOIN LATERAL (
       SELECT x.* FROM agent_backup.job_runs x
        WHERE x.set_name = s.set_name AND x.job = s.job AND x.started_at = s.last_run ORDER BY x.run_id DESC LIMIT 1) AS r ON true;
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
