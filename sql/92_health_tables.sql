-- Health of each table of each set.
CREATE VIEW agent_backup.health_tables AS
WITH judged AS (
    SELECT t.*, s.created_at, s.backup_interval, s.rpo,
           t.now - t.backed_up_at AS age,
           t.now - t.recoverable_at AS loss,
           -- A little late is not late: a run takes its time, and the next one starts at the same minute.
           s.backup_interval * 1.1 AS late, s.backup_interval * 2 AS too_late, s.rpo * 1.1 AS rpo_limit,
           pg_catalog.quote_literal(t.set_name) AS set_literal, pg_catalog.quote_literal(t.display) AS table_literal
      FROM agent_backup.recovery_state t
      JOIN agent_backup.sets s USING (set_name)
)
SELECT pg_catalog.format('%s: table %s', set_name, display) AS subject,
       v.severity, v.since, v.reason,
       CASE WHEN v.severity <> 'OK' THEN v.action END AS action
  FROM judged
 CROSS JOIN LATERAL (
    SELECT 'OK' AS severity, created_at AS since, 'it is not in this database' AS reason, NULL AS action
     WHERE relation IS NULL AND last_backup_id IS NULL
    UNION ALL
    SELECT 'WARNING', last_backup_at,
           pg_catalog.format('it is not in this database any more; backup %s holds it', COALESCE(backup_id, last_backup_id)),
           pg_catalog.format('SELECT * FROM agent_backup.restore(%L, tables => ARRAY[%s], create_missing => true, set_name => %s); or '
                             'SELECT agent_backup.remove_table(%s, %s);',
                             COALESCE(backup_id, last_backup_id), table_literal, set_literal, set_literal, table_literal)
     WHERE relation IS NULL AND last_backup_id IS NOT NULL
    UNION ALL
    SELECT 'FAILED', created_at, 'it was never backed up', pg_catalog.format('SELECT * FROM agent_backup.backup(%s);', set_literal)
     WHERE relation IS NOT NULL AND last_backup_id IS NULL
    UNION ALL
    SELECT 'FAILED', COALESCE(damaged_at, last_backup_at),
           pg_catalog.format('its newest backup %s is damaged: %s; %s', last_backup_id, damage,
                             COALESCE('the last good one is ' || agent_backup.in_words(age) || ' old', 'there is no good one')),
           pg_catalog.format('SELECT * FROM agent_backup.backup(%s);', set_literal)
     WHERE relation IS NOT NULL AND damage IS NOT NULL
    UNION ALL
    SELECT 'FAILED', last_backup_at, pg_catalog.format('its only backups are dated in the future, the newest %s', last_backup_id),
           pg_catalog.format('SELECT * FROM agent_backup.backup(%s);', set_literal)
     WHERE relation IS NOT NULL AND last_backup_id IS NOT NULL AND damage IS NULL AND backup_id IS NULL
    UNION ALL
    SELECT CASE WHEN age > too_late THEN 'FAILED' WHEN age > late OR failed_at IS NOT NULL OR loss > rpo_limit THEN 'WARNING' ELSE 'OK' END,
           CASE WHEN age > too_late THEN backed_up_at + too_late
                WHEN age > late THEN backed_up_at + late
                WHEN failed_at IS NOT NULL THEN failed_at
                WHEN loss > rpo_limit THEN recoverable_at + rpo
                ELSE backed_up_at END,
           CASE WHEN age > late
                THEN pg_catalog.format('last good backup is %s old, expected every %s%s', agent_backup.in_words(age),
                                       agent_backup.in_words(backup_interval), '; the last try failed: ' || failure)
                WHEN failed_at IS NOT NULL
                THEN pg_catalog.format('the last backup failed: %s; the last good one is %s old', failure, agent_backup.in_words(age))
                WHEN loss > rpo_limit
                THEN pg_catalog.format('changes of the last %s are in no backup, more than the objective of %s', agent_backup.in_words(loss),
                                       agent_backup.in_words(rpo))
                WHEN captured_since IS NOT NULL
                THEN pg_catalog.format('last good backup is %s old; each change since is captured', agent_backup.in_words(age))
                WHEN incremental_at > backed_up_at
                THEN pg_catalog.format('last good backup is %s old, the last incremental %s', agent_backup.in_words(age), agent_backup.in_words(loss))
                ELSE pg_catalog.format('last good backup is %s old', agent_backup.in_words(age)) END,
           CASE WHEN age > late OR failed_at IS NOT NULL THEN pg_catalog.format('SELECT * FROM agent_backup.backup(%s);', set_literal)
                ELSE pg_catalog.format('SELECT * FROM agent_backup.incremental(%s); or SELECT * FROM agent_backup.track(%s);',
                                       set_literal, table_literal) END
     WHERE relation IS NOT NULL AND damage IS NULL AND backup_id IS NOT NULL) AS v;
COMMENT ON VIEW agent_backup.health_tables IS 'Part of health: each table of each set';
