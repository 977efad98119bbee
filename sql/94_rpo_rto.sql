-- What the objectives of each set are worth: measured by restores and drills, and by the moments that can be brought back.
CREATE VIEW agent_backup.set_points AS
SELECT b.set_name, b.started_at AS at FROM agent_backup.good_backups b
UNION ALL
SELECT p.set_name, p.started_at FROM agent_backup.pruned_backups p WHERE p.was_good AND p.kind IN ('full', 'archive')
UNION ALL
SELECT i.set_name, i.started_at FROM agent_backup.incremental_runs i WHERE i.failed = 0 AND i.tables > 0;
COMMENT ON VIEW agent_backup.set_points IS 'Moments that a set could be brought back to when they were the newest: good backups, those that retention removed since, and incrementals';
COMMENT ON COLUMN agent_backup.set_points.set_name IS 'The set';
COMMENT ON COLUMN agent_backup.set_points.at IS 'The moment';

CREATE VIEW agent_backup.rpo_rto_report AS
WITH moment AS MATERIALIZED (
    SELECT agent_backup.clock() AS now
), members AS MATERIALIZED (
    SELECT t.set_name, pg_catalog.count(*) AS tables, pg_catalog.array_agg(t.display) AS names,
           pg_catalog.bool_and(t.backup_id IS NOT NULL) AS has_backup,
           pg_catalog.bool_and(t.captured_since IS NOT NULL) AS is_captured,
           CASE WHEN pg_catalog.bool_and(t.recoverable_at IS NOT NULL) THEN pg_catalog.max(GREATEST(t.now - t.recoverable_at, '0')) END AS live_loss,
           CASE WHEN pg_catalog.bool_and(t.saved_at IS NOT NULL) THEN pg_catalog.max(GREATEST(t.now - t.saved_at, '0')) END AS file_loss,
           -- Since when every change of every table can be brought back.
           CASE WHEN pg_catalog.bool_and(t.captured_since IS NOT NULL) THEN GREATEST(pg_catalog.max(t.captured_since), pg_catalog.max(
               (SELECT pg_catalog.max(g.noted_at) FROM agent_backup.capture_gaps g JOIN agent_backup.tracked k USING (tracked_id)
                 WHERE k.relation = t.relation AND k.ended_at IS NULL))) END AS unbroken_since
      FROM agent_backup.recovery_state t
     WHERE t.relation IS NOT NULL
     GROUP BY t.set_name
), stretches AS (
    SELECT p.set_name, pg_catalog.max(p.at - p.before) AS of_files,
           COALESCE(pg_catalog.max(LEAST(p.at, m.unbroken_since) - p.before)
                    FILTER (WHERE m.unbroken_since IS NULL OR p.before < m.unbroken_since), CASE WHEN m.unbroken_since IS NOT NULL THEN interval '0' END) AS of_rows
      FROM (SELECT x.set_name, x.at, pg_catalog.lag(x.at) OVER (PARTITION BY x.set_name ORDER BY x.at) AS before
              FROM (SELECT * FROM agent_backup.set_points UNION ALL SELECT s.set_name, moment.now FROM agent_backup.sets s, moment) AS x) AS p
     CROSS JOIN moment
      LEFT JOIN members m USING (set_name)
     WHERE p.at > moment.now - interval '30 days' AND p.at <= moment.now
     GROUP BY p.set_name, m.unbroken_since
), drilled AS (
    SELECT DISTINCT ON (d.set_name) d.set_name, d.drill_id, d.started_at, d.duration, d.status,
           (SELECT pg_catalog.make_interval(secs => pg_catalog.max((x ->> 'seconds')::double precision))
              FROM pg_catalog.jsonb_array_elements(d.steps) AS x WHERE x ->> 'step' = 'restore') AS slowest
      FROM agent_backup.drills d
     WHERE d.status <> 'failed'
     ORDER BY d.set_name, d.started_at DESC
), restored AS (
    SELECT DISTINCT ON (m.set_name, v.scenario) m.set_name, v.scenario, r.restore_id, r.started_at, r.finished_at, r.finished_at - r.started_at AS took
      FROM agent_backup.restores r
      JOIN members m ON m.set_name = r.set_name OR (r.set_name IS NULL AND r.tables && m.names)
     CROSS JOIN LATERAL (
           SELECT CASE WHEN r.mode = 'record' THEN 1
                       WHEN r.mode IN ('replace', 'merge', 'missing_only', 'as_of') AND pg_catalog.cardinality(r.tables) = 1 AND m.tables > 1 THEN 2
                       WHEN r.mode = 'replace' AND pg_catalog.cardinality(r.tables) >= m.tables THEN 3 END AS scenario) AS v
     WHERE v.scenario IS NOT NULL
     ORDER BY m.set_name, v.scenario, r.finished_at DESC
), copied AS (
    SELECT k.set_name, pg_catalog.max(k.started_at) AS at, pg_catalog.max(k.started_at) FILTER (WHERE k.verification_status = 'success') AS verified
      FROM agent_backup.offsite_catalog k
     WHERE k.kind IN ('full', 'archive') AND k.status IN ('complete', 'retained') AND k.verification_status IS DISTINCT FROM 'failed'
     GROUP BY k.set_name
), measured AS (
    SELECT s.set_name, c.place, c.scenario, c.method, LEAST(c.rto, s.rto) AS rto_objective,
           CASE c.place WHEN 1 THEN interval '0' WHEN 4 THEN GREATEST(s.rpo, s.backup_interval) ELSE s.rpo END AS rpo_objective,
           CASE WHEN r.restore_id IS NOT NULL AND (r.finished_at > d.started_at OR d.drill_id IS NULL OR c.place < 3) THEN r.took
                WHEN c.place = 2 THEN d.slowest
                WHEN c.place >= 3 THEN d.duration END AS took,
           CASE WHEN r.restore_id IS NOT NULL AND (r.finished_at > d.started_at OR d.drill_id IS NULL OR c.place < 3)
                THEN pg_catalog.format('restore %s, %s', r.restore_id, (r.finished_at AT TIME ZONE 'UTC')::date)
                WHEN c.place = 2 AND d.slowest IS NOT NULL THEN pg_catalog.format('drill %s, %s, its slowest table', d.drill_id, (d.started_at AT TIME ZONE 'UTC')::date)
                WHEN c.place >= 3 AND d.drill_id IS NOT NULL THEN pg_catalog.format('drill %s, %s', d.drill_id, (d.started_at AT TIME ZONE 'UTC')::date) END AS took_by,
           CASE WHEN c.place < 3 THEN m.live_loss WHEN c.place = 3 THEN m.file_loss WHEN k.at IS NOT NULL THEN GREATEST(moment.now - k.at, '0') END AS loss,
           k.at AS copied_at, CASE WHEN k.verified IS NOT NULL THEN GREATEST(moment.now - k.verified, '0') END AS verified_loss,
           CASE WHEN c.place < 3 THEN w.of_rows WHEN c.place = 3 THEN w.of_files END AS worst,
           m.tables, m.has_backup, m.is_captured,
           (SELECT pg_catalog.max(x.started_at) FROM agent_backup.drills x WHERE x.set_name = s.set_name) AS last_drill_at,
           (SELECT pg_catalog.max(x.finished_at) FROM agent_backup.restores x WHERE x.set_name = s.set_name OR (x.set_name IS NULL AND x.tables && m.names)) AS last_restore_at
      FROM agent_backup.sets s
     CROSS JOIN (VALUES (1, 'single record deleted', 'restore_record, from captured changes or a backup', interval '5 minutes'),
                        (2, 'table corrupted', 'restore_table_as_of or restore_table', interval '30 minutes'),
                        (3, 'database failure', 'reconcile and restore, from the files here', interval '1 hour'),
                        (4, 'complete data loss', 'import_offsite and restore, from off-site copies', interval '2 hours')) AS c(place, scenario, method, rto)
      LEFT JOIN members m ON m.set_name = s.set_name
      LEFT JOIN stretches w ON w.set_name = s.set_name
      LEFT JOIN drilled d ON d.set_name = s.set_name AND (c.place < 4 OR EXISTS (SELECT FROM copied x WHERE x.set_name = s.set_name))
      LEFT JOIN copied k ON k.set_name = s.set_name
     CROSS JOIN moment
      LEFT JOIN restored r ON r.set_name = s.set_name AND r.scenario = LEAST(c.place, 3) AND (c.place < 4 OR k.at IS NOT NULL)
)
SELECT set_name, scenario, method AS recovery_method, rto_objective, pg_catalog.date_trunc('milliseconds', took) AS rto_measured, took_by AS rto_measured_by,
       rpo_objective, pg_catalog.date_trunc('second', loss) AS rpo_now, pg_catalog.date_trunc('second', worst) AS rpo_worst_30_days,
       last_drill_at, last_restore_at, v.met,
       CASE WHEN tables IS NULL THEN 'none of its tables is in this database'
            WHEN NOT has_backup THEN 'a table has no good backup'
            WHEN place = 4 AND copied_at IS NULL THEN 'no copy is off-site: all would be lost'
            WHEN place = 4 AND verified_loss IS NULL THEN 'no off-site copy was verified'
            ELSE pg_catalog.concat_ws('; ',
                CASE WHEN loss > rpo_objective * 1.1
                     THEN CASE place WHEN 1 THEN pg_catalog.format('changes of the last %s would be lost: not every table is tracked', agent_backup.in_words(loss))
                                     ELSE pg_catalog.format('changes of the last %s would be lost', agent_backup.in_words(loss)) END END,
                CASE WHEN took > rto_objective THEN pg_catalog.format('the last one took %s', agent_backup.in_words(took))
                     WHEN took IS NULL THEN 'no restore was timed yet' END,
                CASE WHEN v.met THEN 'within both objectives' END,
                CASE WHEN v.met AND worst > rpo_objective * 1.1 THEN pg_catalog.format('in 30 days it was up to %s', agent_backup.in_words(worst)) END) END AS reason
  FROM measured
 CROSS JOIN LATERAL (
       SELECT CASE WHEN tables IS NULL OR NOT has_backup OR (place = 4 AND verified_loss IS NULL) THEN false
                   WHEN place = 4 THEN took <= rto_objective AND verified_loss <= rpo_objective * 1.1
                   ELSE took <= rto_objective AND COALESCE(loss <= rpo_objective * 1.1, false) END AS met) AS v
 ORDER BY set_name, place;
COMMENT ON VIEW agent_backup.rpo_rto_report IS 'Recovery objectives of each set by scenario: what was asked for, and what was measured';
COMMENT ON COLUMN agent_backup.rpo_rto_report.set_name IS 'The set';
COMMENT ON COLUMN agent_backup.rpo_rto_report.scenario IS 'What happened; runbook() has the steps for it';
COMMENT ON COLUMN agent_backup.rpo_rto_report.recovery_method IS 'How it is mended';
COMMENT ON COLUMN agent_backup.rpo_rto_report.rto_objective IS 'How long that may take: 5 minutes, 30 minutes, 1 hour, 2 hours, and never more than the RTO of the set';
COMMENT ON COLUMN agent_backup.rpo_rto_report.rto_measured IS 'How long it took the last time; null for never';
COMMENT ON COLUMN agent_backup.rpo_rto_report.rto_measured_by IS 'The restore or drill that was timed, and its day in UTC';
COMMENT ON COLUMN agent_backup.rpo_rto_report.rpo_objective IS 'How much work may be lost: nothing of a single record, the RPO of the set, and of complete loss no less than the time between two backups';
COMMENT ON COLUMN agent_backup.rpo_rto_report.rpo_now IS 'How much would be lost if it happened now; null for all';
COMMENT ON COLUMN agent_backup.rpo_rto_report.rpo_worst_30_days IS 'The most that would have been lost at any moment of the last 30 days; null where there is nothing to tell it by';
COMMENT ON COLUMN agent_backup.rpo_rto_report.last_drill_at IS 'When a restore was last tried by drill()';
COMMENT ON COLUMN agent_backup.rpo_rto_report.last_restore_at IS 'When something of the set was last restored';
COMMENT ON COLUMN agent_backup.rpo_rto_report.met IS 'Whether both objectives are met now; null where no restore was timed yet';
COMMENT ON COLUMN agent_backup.rpo_rto_report.reason IS 'Why, in words';
