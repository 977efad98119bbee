-- Runs of each job that began from $1 to before $2, and the jobs that are scheduled.
WITH ended AS (
    SELECT r.set_name, r.job, r.status, r.started_at, r.error_message
      FROM agent_backup.job_runs r
     WHERE r.started_at >= $1 AND r.started_at < $2 AND r.status <> 'running'
), counted AS (
    SELECT e.set_name, e.job, pg_catalog.count(*) FILTER (WHERE e.status = 'success') AS succeeded,
           pg_catalog.count(*) FILTER (WHERE e.status = 'failed') AS failed, pg_catalog.max(e.started_at) AS last_at,
           pg_catalog.max(e.started_at) FILTER (WHERE e.status = 'success') AS good_at
      FROM ended e
     GROUP BY e.set_name, e.job
)
SELECT COALESCE(c.set_name, s.set_name), COALESCE(c.job, s.job), s.schedule || ' ' || s.time_zone,
       COALESCE(c.succeeded, 0), COALESCE(c.failed, 0), c.last_at,
       (SELECT pg_catalog.min(e.started_at) FROM ended e
         WHERE (e.set_name, e.job, e.status) = (c.set_name, c.job, 'failed') AND (c.good_at IS NULL OR e.started_at > c.good_at)),
       (SELECT e.error_message FROM ended e
         WHERE (e.set_name, e.job, e.status) = (c.set_name, c.job, 'failed') ORDER BY e.started_at DESC LIMIT 1)
  FROM counted c
  FULL JOIN agent_backup.scheduled_jobs s ON s.set_name = c.set_name AND s.job = c.job
 ORDER BY 1, 2
