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

-- Copies of each set at each of its destinations: there, whole, and young enough.
CREATE VIEW agent_backup.health_offsite AS
WITH moment AS MATERIALIZED (
    SELECT agent_backup.clock() AS now
), places AS (
    SELECT d.set_name, d.url FROM agent_backup.offsite_destinations d
    UNION ALL
    SELECT s.set_name, pg_catalog.rtrim(u.url, '/')
      FROM agent_backup.sets s
     CROSS JOIN (SELECT NULLIF(pg_catalog.current_setting('agent_backup.offsite_url', true), '') AS url) AS u
     WHERE u.url IS NOT NULL AND NOT EXISTS (SELECT FROM agent_backup.offsite_destinations d WHERE d.set_name = s.set_name)
), state AS (
    SELECT p.set_name, p.url, newest.backup_id, newest.started_at, newest.verified_at, newest.verification_level, tried.started_at AS tried_at, tried.error_message,
           c.copies, c.retained, c.bad, c.bad_since, c.worst
      FROM places p
      LEFT JOIN LATERAL (
           SELECT k.* FROM agent_backup.offsite_catalog k
            WHERE k.destination = p.url AND k.set_name = p.set_name AND k.kind IN ('full', 'archive') AND k.status IN ('complete', 'retained')
              AND k.verification_status IS DISTINCT FROM 'failed'
            ORDER BY k.started_at DESC LIMIT 1) AS newest ON true
      LEFT JOIN LATERAL (
           SELECT k.started_at, k.error_message FROM agent_backup.offsite_catalog k
            WHERE k.destination = p.url AND k.set_name = p.set_name AND k.status = 'failed' AND (newest.started_at IS NULL OR k.started_at > newest.started_at)
            ORDER BY k.started_at DESC LIMIT 1) AS tried ON true
     CROSS JOIN LATERAL (
           SELECT pg_catalog.count(*) FILTER (WHERE k.status <> 'failed') AS copies, pg_catalog.count(*) FILTER (WHERE k.status = 'retained') AS retained,
                  pg_catalog.count(*) FILTER (WHERE k.status = 'missing' OR k.verification_status = 'failed') AS bad,
                  pg_catalog.min(k.verified_at) FILTER (WHERE k.status = 'missing' OR k.verification_status = 'failed') AS bad_since,
                  pg_catalog.max(k.backup_id || ': ' || k.error_message) FILTER (WHERE k.status = 'missing' OR k.verification_status = 'failed') AS worst
             FROM agent_backup.offsite_catalog k WHERE k.destination = p.url AND k.set_name = p.set_name) AS c
)
SELECT s.set_name || ': off-site copies' AS subject, 'WARNING' AS severity, s.created_at AS since,
       'all copies are on this machine' AS reason,
       pg_catalog.format('SELECT agent_backup.add_destination(%L, %L);', s.set_name, 's3://bucket/prefix') AS action
  FROM agent_backup.sets s
 WHERE NOT EXISTS (SELECT FROM places p WHERE p.set_name = s.set_name)
UNION ALL
SELECT pg_catalog.format('%s: off-site copies in %s', t.set_name, t.url), v.severity, v.since, v.reason, CASE WHEN v.severity <> 'OK' THEN v.action END
  FROM state t
  JOIN agent_backup.sets s USING (set_name)
 CROSS JOIN moment
  LEFT JOIN LATERAL (
       SELECT pg_catalog.min(g.started_at) AS since FROM agent_backup.good_backups g WHERE g.set_name = t.set_name) AS good ON true
 CROSS JOIN LATERAL (
    SELECT CASE WHEN t.bad > 0 THEN 'FAILED'
                WHEN t.backup_id IS NULL THEN CASE WHEN moment.now - good.since > s.backup_interval * 1.1 THEN 'FAILED' ELSE 'WARNING' END
                WHEN moment.now - t.started_at > s.backup_interval * 2 THEN 'FAILED'
                WHEN moment.now - t.started_at > s.backup_interval * 1.1 OR t.tried_at IS NOT NULL THEN 'WARNING'
                WHEN t.verified_at IS NULL AND moment.now - t.started_at > s.backup_interval THEN 'WARNING'
                ELSE 'OK' END AS severity,
           CASE WHEN t.bad > 0 THEN t.bad_since WHEN t.backup_id IS NULL THEN COALESCE(good.since, s.created_at) ELSE COALESCE(t.tried_at, t.started_at) END AS since,
           CASE WHEN t.bad > 0 THEN pg_catalog.format('%s of %s copies are missing or damaged, such as %s', t.bad, t.copies, t.worst)
                WHEN t.backup_id IS NULL THEN 'no backup was copied there yet' || COALESCE('; the last try failed: ' || t.error_message, '')
                ELSE pg_catalog.concat_ws('; ',
                     pg_catalog.format('the newest copy is %s old', agent_backup.in_words(moment.now - t.started_at)),
                     CASE WHEN t.verified_at IS NULL THEN 'it was not verified yet'
                          ELSE pg_catalog.format('it passed at level %s, %s ago', t.verification_level, agent_backup.in_words(moment.now - t.verified_at)) END,
                     'a newer one could not be sent: ' || t.error_message,
                     CASE WHEN t.retained > 0 THEN pg_catalog.format('%s of %s copies are retained by the store', t.retained, t.copies) END) END AS reason,
           CASE WHEN t.bad > 0 OR (t.verified_at IS NULL AND t.backup_id IS NOT NULL AND t.tried_at IS NULL AND moment.now - t.started_at <= s.backup_interval * 1.1)
                THEN pg_catalog.format('SELECT * FROM agent_backup.verify_offsite(%L, %L);', t.set_name, t.url)
                ELSE pg_catalog.format('SELECT * FROM agent_backup.upload(%L, %L);', t.set_name, t.url) END AS action) AS v;
COMMENT ON VIEW agent_backup.health_offsite IS 'Part of health: copies of each set on other machines';

