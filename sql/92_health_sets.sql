-- Health of each set as a whole: its members, verification, drills, copies elsewhere, age of its data.
CREATE VIEW agent_backup.health_sets AS
WITH moment AS MATERIALIZED (
    SELECT agent_backup.clock() AS now
)
SELECT pg_catalog.format('%s: %s', s.set_name, v.topic) AS subject, v.severity, v.since, v.reason,
       CASE WHEN v.severity <> 'OK' THEN v.action END AS action
  FROM agent_backup.sets s
 CROSS JOIN moment
  LEFT JOIN LATERAL (
       SELECT c.backup_id, c.started_at, c.verified_at, c.verification_status, c.verification_level FROM agent_backup.backup_catalog c
        WHERE c.set_name = s.set_name AND c.kind IN ('full', 'archive') AND c.file_name IS NOT NULL
        ORDER BY c.started_at DESC LIMIT 1) AS newest ON true
  LEFT JOIN LATERAL (
       SELECT b.backup_id, b.started_at FROM agent_backup.good_backups b
        WHERE b.set_name = s.set_name ORDER BY b.started_at DESC LIMIT 1) AS good ON true
  LEFT JOIN LATERAL (
       SELECT d.* FROM agent_backup.drills d WHERE d.set_name = s.set_name ORDER BY d.started_at DESC LIMIT 1) AS drill ON true
 CROSS JOIN LATERAL (
    SELECT 'members' AS topic, 'WARNING' AS severity, s.created_at AS since, 'it has no tables' AS reason,
           pg_catalog.format('SELECT agent_backup.add_table(%L, %L);', s.set_name, 'my_table') AS action
     WHERE NOT EXISTS (SELECT FROM agent_backup.set_tables m WHERE m.set_name = s.set_name)
    UNION ALL
    SELECT 'verification',
           CASE WHEN newest.backup_id IS NULL THEN 'WARNING'
                WHEN newest.verification_status = 'failed' THEN 'FAILED'
                WHEN newest.verification_status = 'warning' THEN 'WARNING'
                WHEN newest.verified_at IS NULL AND moment.now - newest.started_at > s.backup_interval * 1.1 THEN 'WARNING'
                ELSE 'OK' END,
           COALESCE(newest.verified_at, newest.started_at, s.created_at),
           CASE WHEN newest.backup_id IS NULL THEN 'there is no backup to verify'
                WHEN newest.verified_at IS NULL
                THEN pg_catalog.format('the newest backup is %s old and was not verified yet', agent_backup.in_words(moment.now - newest.started_at))
                ELSE pg_catalog.format('the newest backup %s at level %s, %s ago',
                                       CASE newest.verification_status WHEN 'success' THEN 'passed' WHEN 'warning' THEN 'passed with a warning' ELSE 'failed' END,
                                       newest.verification_level, agent_backup.in_words(moment.now - newest.verified_at)) END,
           CASE WHEN newest.backup_id IS NULL THEN pg_catalog.format('SELECT * FROM agent_backup.backup(%L);', s.set_name)
                ELSE pg_catalog.format('SELECT * FROM agent_backup.verify(%L, %L, %L);', newest.backup_id, 'decode', s.set_name) END
    UNION ALL
    SELECT 'recovery drill',
           CASE drill.status WHEN 'failed' THEN 'FAILED'
                WHEN 'success' THEN CASE WHEN moment.now - drill.started_at > interval '35 days' OR NOT drill.within_rto THEN 'WARNING' ELSE 'OK' END
                ELSE 'WARNING' END,
           CASE WHEN drill.drill_id IS NULL THEN s.created_at
                WHEN drill.status = 'success' AND moment.now - drill.started_at > interval '35 days' THEN drill.started_at + interval '35 days'
                ELSE drill.started_at END,
           CASE WHEN drill.drill_id IS NULL THEN 'a restore was never tried'
                WHEN drill.status = 'failed' THEN 'the last drill failed: ' || drill.error_message
                WHEN NOT drill.within_rto
                THEN pg_catalog.format('the last drill took %s, more than the objective of %s', agent_backup.in_words(drill.duration), agent_backup.in_words(drill.rto))
                WHEN drill.status = 'warning'
                THEN 'the last drill restored the data, but not all checks passed'
                ELSE pg_catalog.format('the last drill was %s ago and took %s', agent_backup.in_words(moment.now - drill.started_at),
                                       agent_backup.in_words(drill.duration)) END,
           pg_catalog.format(CASE WHEN good.backup_id IS NULL THEN 'SELECT * FROM agent_backup.backup(%L);' ELSE 'SELECT * FROM agent_backup.drill(%L);' END, s.set_name)
    UNION ALL
    SELECT 'maximum age', CASE WHEN moment.now - good.started_at > s.max_age THEN 'WARNING' ELSE 'OK' END,
           CASE WHEN moment.now - good.started_at > s.max_age THEN good.started_at + s.max_age END,
           CASE WHEN good.backup_id IS NULL THEN pg_catalog.format('nothing is older than %s', agent_backup.in_words(s.max_age))
                ELSE pg_catalog.format('the last good backup is %s old, and none may be older than %s',
                                       agent_backup.in_words(moment.now - good.started_at), agent_backup.in_words(s.max_age)) END,
           pg_catalog.format('SELECT * FROM agent_backup.backup(%L);', s.set_name)
     WHERE s.max_age IS NOT NULL) AS v;
COMMENT ON VIEW agent_backup.health_sets IS 'Part of health: members, verification, drills and age of each set';

-- A part of its own: copies elsewhere come with a later version.
CREATE VIEW agent_backup.health_offsite AS
SELECT s.set_name || ': off-site copies' AS subject, 'WARNING' AS severity, s.created_at AS since,
       'all copies are on this machine' AS reason,
       'Copy the files of agent_backup.directory to another machine, and see that the copies arrive.' AS action
  FROM agent_backup.sets s;
COMMENT ON VIEW agent_backup.health_offsite IS 'Part of health: copies of each set on other machines';

