-- Health of the log of acts: what its last verification found. The job verify does one.
CREATE VIEW agent_backup.health_audit AS
SELECT 'log of acts' AS subject, v.severity, c.checked_at AS since, v.reason,
       CASE WHEN v.severity <> 'OK' THEN 'SELECT * FROM agent_backup.verify_audit_log();' END AS action
  FROM (SELECT agent_backup.clock() AS now) AS moment
  LEFT JOIN LATERAL (SELECT k.* FROM agent_backup.audit_checks k ORDER BY k.check_id DESC LIMIT 1) AS c ON true
  LEFT JOIN LATERAL (SELECT l.happened_at FROM agent_backup.audit_log l ORDER BY l.entry_id LIMIT 1) AS first ON true
 CROSS JOIN LATERAL (
    SELECT CASE WHEN c.status = 'failed' THEN 'FAILED'
                WHEN COALESCE(c.checked_at, first.happened_at, moment.now) < moment.now - interval '8 days' THEN 'WARNING'
                ELSE 'OK' END AS severity,
           CASE WHEN c.status = 'failed' THEN 'it is damaged: ' || c.problems[1]
                WHEN c.checked_at IS NULL THEN 'it was never verified'
                ELSE pg_catalog.format('%s entries were whole %s ago', c.entries, agent_backup.in_words(moment.now - c.checked_at)) END AS reason) AS v;
COMMENT ON VIEW agent_backup.health_audit IS 'Part of health: the log of acts';
