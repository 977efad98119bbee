-- What runs when. A job is overdue where it should have run ten minutes ago and has not begun since.
CREATE VIEW agent_backup.schedules AS
SELECT s.set_name, s.job, s.schedule, s.time_zone,
       agent_backup.next_due(s.schedule, agent_backup.clock() AT TIME ZONE s.time_zone) AT TIME ZONE s.time_zone AS next_run,
       r.started_at AS last_run, r.status AS last_status, r.finished_at - r.started_at AS last_duration,
       coalesce(d.due > s.scheduled_at
                AND NOT EXISTS (SELECT FROM agent_backup.job_runs b
                                 WHERE b.set_name = s.set_name AND b.job = s.job AND b.started_at >= d.due), false) AS overdue,
       agent_backup.job_is_active(s.set_name, s.job) AS active,
       s.cron_job
  FROM agent_backup.scheduled_jobs s
 CROSS JOIN LATERAL (
       SELECT agent_backup.last_due(s.schedule, (agent_backup.clock() - '10 minutes'::interval) AT TIME ZONE s.time_zone)
              AT TIME ZONE s.time_zone AS due) d
  LEFT JOIN LATERAL (
       SELECT j.started_at, j.status, j.finished_at
         FROM agent_backup.job_runs j WHERE j.set_name = s.set_name AND j.job = s.job
        ORDER BY coalesce(j.finished_at, 'infinity') DESC, j.run_id DESC LIMIT 1) r ON true;
COMMENT ON VIEW agent_backup.schedules IS 'Scheduled jobs: when each runs next, how it ended last, and whether it is overdue';
COMMENT ON COLUMN agent_backup.schedules.set_name IS 'The set';
COMMENT ON COLUMN agent_backup.schedules.job IS 'daily (full backup), hourly (incremental), verify, weekly (archive), monthly (drill), prune or offsite';
COMMENT ON COLUMN agent_backup.schedules.schedule IS 'When, as crontab(5) has it';
COMMENT ON COLUMN agent_backup.schedules.time_zone IS 'Time zone of that: pg_cron''s, not the session''s';
COMMENT ON COLUMN agent_backup.schedules.next_run IS 'When it runs next';
COMMENT ON COLUMN agent_backup.schedules.last_run IS 'When the run began that ended last or runs now; null: it never ran';
COMMENT ON COLUMN agent_backup.schedules.last_status IS 'running, success or failed';
COMMENT ON COLUMN agent_backup.schedules.last_duration IS 'How long that took; null while it runs';
COMMENT ON COLUMN agent_backup.schedules.overdue IS 'It should have begun ten minutes ago or earlier, and has not';
COMMENT ON COLUMN agent_backup.schedules.active IS 'Whether pg_cron still has it so, switched on and of a role that exists; null where that cannot be seen: in another database';
COMMENT ON COLUMN agent_backup.schedules.cron_job IS 'What pg_cron calls it';
