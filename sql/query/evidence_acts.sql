-- Acts from $1 to before $2 by what was done and how it ended.
SELECT a.action, pg_catalog.count(*) FILTER (WHERE a.status = 'ok'), pg_catalog.count(*) FILTER (WHERE a.status = 'failed'),
       pg_catalog.count(*) FILTER (WHERE a.status = 'denied'), pg_catalog.max(a.happened_at)
  FROM agent_backup.audit_log a
 WHERE a.happened_at >= $1 AND a.happened_at < $2
 GROUP BY a.action
 ORDER BY a.action
