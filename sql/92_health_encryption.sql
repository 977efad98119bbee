-- Health of the keys of encrypted sets.
CREATE VIEW agent_backup.health_encryption AS
SELECT pg_catalog.format('%s: encryption', e.set_name) AS subject, e.severity, NULL::timestamptz AS since, e.reason, e.action
  FROM agent_backup.encryption_state() e;
COMMENT ON VIEW agent_backup.health_encryption IS 'Part of health: whether the keys of encrypted sets can be used';
GRANT SELECT ON agent_backup.health_encryption TO agent_backup_operator;
