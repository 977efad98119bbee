-- Health of the capture of changes: each table that is tracked, and the log that the changes go to.
CREATE VIEW agent_backup.health_capture AS
WITH moment AS MATERIALIZED (
    SELECT agent_backup.clock() AS now
), watched AS (
    SELECT t.tracked_id, t.since, t.broken_since, n.is_whole, c.oid AS relation,
           t.home = (SELECT h.home FROM agent_backup.this_home h) AS is_here,
           CASE COALESCE(s.nspname, t.schema_name) WHEN 'public' THEN '' ELSE pg_catalog.quote_ident(COALESCE(s.nspname, t.schema_name)) || '.' END
               || pg_catalog.quote_ident(COALESCE(c.relname, t.table_name)) AS display,
           g.gaps, g.first_gap, g.last_reason
      FROM agent_backup.tracked t
      LEFT JOIN agent_backup.tracked_now n USING (tracked_id)
      LEFT JOIN pg_catalog.pg_class c ON c.oid = t.relation
      LEFT JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace
     CROSS JOIN moment
     CROSS JOIN LATERAL (
           SELECT pg_catalog.count(*) AS gaps, pg_catalog.min(x.noted_at) AS first_gap,
                  (pg_catalog.array_agg(x.reason ORDER BY x.noted_at DESC))[1] AS last_reason
             FROM agent_backup.capture_gaps x
            WHERE x.tracked_id = t.tracked_id AND x.noted_at > moment.now - interval '30 days') AS g
     WHERE t.ended_at IS NULL
)
SELECT 'capture of ' || w.display AS subject, v.severity, v.since, v.reason, v.action
  FROM watched w
 CROSS JOIN LATERAL (
    SELECT CASE WHEN NOT w.is_here THEN 1 WHEN w.relation IS NULL THEN 2 WHEN NOT w.is_whole OR w.broken_since IS NOT NULL THEN 3
                WHEN w.gaps > 0 THEN 4 ELSE 5 END AS state) AS x
 CROSS JOIN LATERAL (
    SELECT CASE x.state WHEN 3 THEN 'FAILED' WHEN 5 THEN 'OK' ELSE 'WARNING' END AS severity,
           CASE x.state WHEN 3 THEN COALESCE(w.broken_since, w.since) WHEN 4 THEN w.first_gap ELSE w.since END AS since,
           CASE x.state WHEN 1 THEN 'it began in another database, of which this one is a copy'
                        WHEN 2 THEN 'the table is gone; the log still has its changes'
                        WHEN 3 THEN 'its triggers are switched off or dropped: changes are not captured'
                        WHEN 4 THEN pg_catalog.format('%s %s in 30 days, the last because %s', w.gaps,
                                                      CASE w.gaps WHEN 1 THEN 'gap' ELSE 'gaps' END, w.last_reason)
                        ELSE 'each change is in the log' END AS reason,
           CASE WHEN x.state IN (2, 4) THEN pg_catalog.format('SELECT * FROM agent_backup.recovery_points(%L);', w.display)
                        WHEN x.state = 5 THEN NULL
                        ELSE pg_catalog.format('SELECT agent_backup.untrack(%L); SELECT * FROM agent_backup.track(%L);', w.display, w.display)
           END AS action) AS v
UNION ALL
-- Until the first day is over it is no concern: the job prune makes the partitions.
SELECT 'log of changes', CASE WHEN p.oid IS NULL AND w.since < moment.now - interval '1 day' THEN 'WARNING' ELSE 'OK' END,
       CASE WHEN p.oid IS NULL THEN w.since END,
       CASE WHEN p.oid IS NOT NULL THEN 'tomorrow has its partition'
            WHEN w.since < moment.now - interval '1 day' THEN 'tomorrow has no partition; old days cannot be put away one by one'
            ELSE 'it is young; its partitions are made by the job prune, or by maintain_log' END,
       CASE WHEN p.oid IS NULL AND w.since < moment.now - interval '1 day' THEN 'SELECT * FROM agent_backup.maintain_log();' END
  FROM moment
 CROSS JOIN (SELECT pg_catalog.min(x.since) AS since FROM watched x WHERE x.is_here) AS w
  LEFT JOIN pg_catalog.pg_class p
    ON p.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = 'agent_backup')
   AND p.relname = 'change_log_' || pg_catalog.to_char((moment.now AT TIME ZONE 'UTC')::date + 1, 'YYYYMMDD')
 WHERE w.since IS NOT NULL;
COMMENT ON VIEW agent_backup.health_capture IS 'Part of health: each tracked table, and the log of changes';
