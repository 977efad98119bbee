-- One row per thing that is expected, whether it ever happened or not.
CREATE VIEW agent_backup.health AS
SELECT h.subject, h.severity, h.since, h.reason, h.action
  FROM (SELECT 1 AS place, v.* FROM agent_backup.health_tables v
        UNION ALL SELECT 2, v.* FROM agent_backup.health_sets v
        UNION ALL SELECT 2, v.* FROM agent_backup.health_encryption v
        UNION ALL SELECT 3, v.* FROM agent_backup.health_jobs v
        UNION ALL SELECT 4, v.* FROM agent_backup.health_offsite v
        UNION ALL SELECT 5, v.* FROM agent_backup.health_capture v
        UNION ALL SELECT 6, v.* FROM agent_backup.health_disk v
        UNION ALL SELECT 7, v.* FROM agent_backup.health_server v
        UNION ALL SELECT 7, v.* FROM agent_backup.health_audit v
        UNION ALL SELECT 8, 'backup sets', 'WARNING', NULL, 'there is none', 'SELECT agent_backup.create_set(''my_set'');'
                   WHERE NOT EXISTS (SELECT FROM agent_backup.sets)) AS h
 ORDER BY CASE h.severity WHEN 'FAILED' THEN 1 WHEN 'WARNING' THEN 2 ELSE 3 END, h.place, h.subject;
COMMENT ON VIEW agent_backup.health IS 'Whether all is as it should be: one row per thing that is expected, the worst first';

DO $do$
DECLARE
    part text;
BEGIN
    FOREACH part IN ARRAY ARRAY['health', 'health_tables', 'health_sets', 'health_encryption', 'health_offsite', 'health_jobs', 'health_capture', 'health_disk', 'health_server', 'health_audit'] LOOP
        EXECUTE pg_catalog.format('COMMENT ON COLUMN agent_backup.%I.subject IS %L', part, 'What is expected');
        EXECUTE pg_catalog.format('COMMENT ON COLUMN agent_backup.%I.severity IS %L', part, 'OK, WARNING or FAILED');
        EXECUTE pg_catalog.format('COMMENT ON COLUMN agent_backup.%I.since IS %L', part, 'Since when it is so; null where nothing tells');
        EXECUTE pg_catalog.format('COMMENT ON COLUMN agent_backup.%I.reason IS %L', part, 'Why, in words');
        EXECUTE pg_catalog.format('COMMENT ON COLUMN agent_backup.%I.action IS %L', part, 'What mends it, ready to paste where it is SQL; null where all is well');
    END LOOP;
END
$do$;
