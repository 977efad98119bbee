-- Health of the ground that backups stand on: the clock, and the server's own protection below them.
CREATE VIEW agent_backup.health_server AS
SELECT 'clock' AS subject, CASE WHEN f.backup_id IS NULL THEN 'OK' ELSE 'WARNING' END AS severity, f.started_at AS since,
       CASE WHEN f.backup_id IS NULL THEN 'no backup is dated in the future'
            ELSE pg_catalog.format('backup %s is dated %s in the future: the clock was or is wrong', f.backup_id,
                                   agent_backup.in_words(f.started_at - moment.now)) END AS reason,
       CASE WHEN f.backup_id IS NOT NULL
            THEN 'Set the clock of the machine, then: ' || pg_catalog.format('SELECT * FROM agent_backup.backup(%L);', f.set_name) END AS action
  FROM (SELECT agent_backup.clock() AS now) AS moment
  LEFT JOIN LATERAL (
       SELECT c.backup_id, c.set_name, c.started_at FROM agent_backup.backup_catalog c
        WHERE c.started_at > moment.now + interval '5 minutes' ORDER BY c.started_at DESC LIMIT 1) AS f ON true
UNION ALL
SELECT 'server: WAL archiving', v.severity, v.since, v.reason, v.action
  FROM pg_catalog.pg_stat_archiver a
 CROSS JOIN LATERAL (
    SELECT pg_catalog.current_setting('archive_mode') AS mode,
           pg_catalog.current_setting('archive_command') IN ('', '(disabled)') AND pg_catalog.current_setting('archive_library') = '' AS has_no_target,
           a.failed_count > 0 AND a.last_failed_time > COALESCE(a.last_archived_time, '-infinity') AS is_failing) AS s
 CROSS JOIN LATERAL (
    SELECT CASE WHEN s.mode = 'off' THEN 'WARNING'
                WHEN pg_catalog.pg_is_in_recovery() AND s.mode = 'on' THEN 'OK'
                WHEN s.has_no_target OR s.is_failing THEN 'FAILED'
                ELSE 'OK' END AS severity,
           CASE WHEN s.is_failing AND s.mode <> 'off' THEN COALESCE(a.last_archived_time, a.last_failed_time) ELSE a.last_archived_time END AS since,
           CASE WHEN s.mode = 'off' THEN 'it is off: the whole server cannot be brought back to a moment'
                WHEN pg_catalog.pg_is_in_recovery() AND s.mode = 'on' THEN 'this is a standby: its primary archives'
                WHEN s.has_no_target THEN 'it is on, and neither archive_command nor archive_library is set'
                WHEN s.is_failing THEN pg_catalog.format('it fails: %s failures, the last %s ago', a.failed_count,
                                                         agent_backup.in_words(pg_catalog.now() - a.last_failed_time))
                WHEN a.last_archived_time IS NULL THEN 'it is on; nothing has been archived yet'
                ELSE pg_catalog.format('it works: the last segment %s ago', agent_backup.in_words(pg_catalog.now() - a.last_archived_time))
           END AS reason,
           CASE WHEN s.mode = 'off' THEN 'Set archive_mode = on with a tool such as pgBackRest, Barman or WAL-G, and restart the server.'
                WHEN NOT (pg_catalog.pg_is_in_recovery() AND s.mode = 'on') AND (s.has_no_target OR s.is_failing)
                THEN 'See the server''s log, and: SELECT * FROM pg_stat_archiver;' END AS action) AS v
UNION ALL
SELECT 'server: data checksums', CASE WHEN c.enabled THEN 'OK' ELSE 'WARNING' END, NULL,
       CASE WHEN c.enabled THEN 'they are on' ELSE 'they are off: damage by the disk can go into backups unnoticed' END,
       CASE WHEN NOT c.enabled THEN 'With the server stopped: pg_checksums --enable -D <data directory>' END
  FROM (SELECT pg_catalog.current_setting('data_checksums') = 'on' AS enabled) AS c;
COMMENT ON VIEW agent_backup.health_server IS 'Part of health: the clock, and WAL archiving and checksums of the server';
