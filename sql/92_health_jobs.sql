-- Health of the jobs: each that is scheduled, and each set for which none is.
CREATE VIEW agent_backup.late_jobs AS
WITH moment AS MATERIALIZED (
    SELECT agent_backup.clock() AS now
), expected AS (
    SELECT j.set_name, j.job, j.scheduled_at,
           CASE j.job WHEN 'hourly' THEN interval '1 hour' WHEN 'weekly' THEN interval '7 days' WHEN 'monthly' THEN interval '31 days'
                ELSE interval '1 day' END AS period
      FROM agent_backup.scheduled_jobs j
)
SELECT e.set_name, e.job, e.scheduled_at, e.period, r.status, r.started_at, r.finished_at, r.error_message, moment.now,
       moment.now - COALESCE(r.started_at, e.scheduled_at) > e.period * 1.5 AS overdue,
       r.status = 'running' AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid = r.pid) AS died
  FROM expected e
 CROSS JOIN moment
  LEFT JOIN LATERAL (
       SELECT x.* FROM agent_backup.job_runs x
        WHERE x.set_name = e.set_name AND x.job = e.job ORDER BY x.started_at DESC LIMIT 1) AS r ON true;
COMMENT ON VIEW agent_backup.late_jobs IS 'Scheduled jobs, their last runs, and whether they are late';
COMMENT ON COLUMN agent_backup.late_jobs.set_name IS 'The set';
COMMENT ON COLUMN agent_backup.late_jobs.job IS 'The job';
COMMENT ON COLUMN agent_backup.late_jobs.scheduled_at IS 'When it was scheduled';
COMMENT ON COLUMN agent_backup.late_jobs.period IS 'How often it is expected to run';
COMMENT ON COLUMN agent_backup.late_jobs.status IS 'running, success or failed; null where it never ran';
COMMENT ON COLUMN agent_backup.late_jobs.started_at IS 'When the last run began';
COMMENT ON COLUMN agent_backup.late_jobs.finished_at IS 'When it ended';
COMMENT ON COLUMN agent_backup.late_jobs.error_message IS 'Why it failed';
COMMENT ON COLUMN agent_backup.late_jobs.now IS 'The moment that it was judged at';
COMMENT ON COLUMN agent_backup.late_jobs.overdue IS 'Whether the next run should have begun by now';
COMMENT ON COLUMN agent_backup.late_jobs.died IS 'Whether the session of a run that has not ended is gone';

CREATE VIEW agent_backup.health_jobs AS
WITH moment AS MATERIALIZED (
    SELECT agent_backup.clock() AS now
)
SELECT pg_catalog.format('%s: job %s', set_name, job) AS subject,
       CASE WHEN overdue OR died OR status = 'failed' THEN 'FAILED' ELSE 'OK' END AS severity,
       CASE WHEN status = 'failed' AND NOT overdue THEN finished_at
            WHEN overdue THEN COALESCE(started_at, scheduled_at) + period * 1.5
            ELSE COALESCE(started_at, scheduled_at) END AS since,
       CASE WHEN overdue AND started_at IS NULL THEN pg_catalog.format('it never ran, and was scheduled %s ago', agent_backup.in_words(now - scheduled_at))
            WHEN overdue THEN pg_catalog.format('it is overdue: last run %s ago%s', agent_backup.in_words(now - started_at), ', which failed: ' || error_message)
            WHEN died THEN pg_catalog.format('its session ended in the middle of a run that began %s ago', agent_backup.in_words(now - started_at))
            WHEN status = 'failed' THEN pg_catalog.format('the last run failed %s ago: %s', agent_backup.in_words(now - finished_at), error_message)
            WHEN status = 'running' THEN pg_catalog.format('it has been running for %s', agent_backup.in_words(now - started_at))
            WHEN status = 'success' THEN pg_catalog.format('the last run ended well %s ago', agent_backup.in_words(now - finished_at))
            ELSE 'it has not been due yet' END AS reason,
       CASE WHEN overdue OR died OR status = 'failed' THEN pg_catalog.format('CALL agent_backup.run_job(%L, %L);', job, set_name) END AS action
  FROM agent_backup.late_jobs
UNION ALL
SELECT s.set_name || ': schedule', CASE WHEN r.run_id IS NULL THEN 'WARNING' ELSE 'OK' END,
       CASE WHEN r.run_id IS NULL THEN s.created_at ELSE r.started_at END,
       CASE WHEN r.run_id IS NULL THEN 'nothing backs it up by itself'
            ELSE pg_catalog.format('another scheduler runs its jobs: the last was %s, %s ago', r.job, agent_backup.in_words(moment.now - r.started_at)) END,
       CASE WHEN r.run_id IS NULL THEN pg_catalog.format('SELECT * FROM agent_backup.schedule(%L);', s.set_name) END
  FROM agent_backup.sets s
 CROSS JOIN moment
  LEFT JOIN LATERAL (
       SELECT x.* FROM agent_backup.job_runs x
        WHERE x.set_name = s.set_name AND x.job = 'daily' AND x.started_at > moment.now - s.backup_interval * 2
        ORDER BY x.started_at DESC LIMIT 1) AS r ON true
 WHERE NOT EXISTS (SELECT FROM agent_backup.scheduled_jobs j WHERE j.set_name = s.set_name);
COMMENT ON VIEW agent_backup.health_jobs IS 'Part of health: each scheduled job, and each set that has none';
GRANT SELECT ON agent_backup.late_jobs, agent_backup.health_jobs TO agent_backup_operator;
