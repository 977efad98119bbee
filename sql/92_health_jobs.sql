-- Health of the jobs: each that is scheduled, and each set for which none is.
CREATE VIEW agent_backup.health_jobs AS
WITH moment AS MATERIALIZED (
    SELECT agent_backup.clock() AS now
)
SELECT pg_catalog.format('%s: job %s', set_name, job) AS subject,
       CASE WHEN overdue OR died OR status = 'failed' OR NOT active THEN 'FAILED' ELSE 'OK' END AS severity,
       CASE WHEN status = 'failed' AND NOT overdue THEN finished_at
            WHEN overdue THEN due_at
            ELSE COALESCE(started_at, scheduled_at) END AS since,
       CASE WHEN NOT active THEN 'pg_cron does not have it any more, or has it switched off'
            WHEN overdue AND started_at IS NULL THEN pg_catalog.format('it never ran, and was scheduled %s ago', agent_backup.in_words(now - scheduled_at))
            WHEN overdue THEN pg_catalog.format('it is overdue: last run %s ago%s', agent_backup.in_words(now - started_at), ', which failed: ' || error_message)
            WHEN died THEN pg_catalog.format('its session ended in the middle of a run that began %s ago', agent_backup.in_words(now - started_at))
            WHEN status = 'failed' THEN pg_catalog.format('the last run failed %s ago: %s', agent_backup.in_words(now - finished_at), error_message)
            WHEN status = 'running' THEN pg_catalog.format('it has been running for %s', agent_backup.in_words(now - started_at))
            WHEN status = 'success' THEN pg_catalog.format('the last run ended well %s ago', agent_backup.in_words(now - finished_at))
            ELSE 'it has not been due yet' END AS reason,
       CASE WHEN NOT active THEN pg_catalog.format('SELECT * FROM agent_backup.schedule(%L);', set_name)
            WHEN overdue OR died OR status = 'failed' THEN pg_catalog.format('CALL agent_backup.run_job(%L, %L);', job, set_name) END AS action
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
