-- How far each table of each set could be brought back, which health and the reports are made of.
CREATE FUNCTION agent_backup.in_words(duration interval) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (SELECT CASE
    WHEN e.seconds < 10 THEN pg_catalog.round(GREATEST(e.seconds, 0), 1)::text || ' s'
    WHEN e.seconds < 120 THEN pg_catalog.trunc(e.seconds)::text || ' s'
    WHEN e.seconds < 7200 THEN pg_catalog.trunc(e.seconds / 60)::text || ' min'
    WHEN e.seconds < 172800 THEN pg_catalog.trunc(e.seconds / 3600)::text || ' h'
    ELSE pg_catalog.trunc(e.seconds / 86400)::text || ' days' END
    FROM (SELECT EXTRACT(epoch FROM duration) AS seconds) AS e WHERE duration IS NOT NULL);

-- The same rule everywhere: whole, or at least whole for the tables that it lists, and not known to be damaged.
CREATE VIEW agent_backup.good_backups AS
SELECT c.backup_id, c.set_name, c.kind, c.status, c.started_at, c.finished_at, c.row_count, c.size_bytes, c.verified_at, c.verification_status
  FROM agent_backup.backup_catalog c
 WHERE c.kind IN ('full', 'archive')
   AND (c.status = 'complete' OR (c.status = 'incomplete' AND c.error_message NOT LIKE 'missing on disk:%'))
   AND c.verification_status IS DISTINCT FROM 'failed'
   AND c.started_at <= agent_backup.clock() + interval '5 minutes';
COMMENT ON VIEW agent_backup.good_backups IS 'Backups whose tables can be brought back, as far as is known: no file is missing, no verification failed, and they are not dated in the future';
COMMENT ON COLUMN agent_backup.good_backups.backup_id IS 'The backup';
COMMENT ON COLUMN agent_backup.good_backups.set_name IS 'Its set';
COMMENT ON COLUMN agent_backup.good_backups.kind IS 'full or archive';
COMMENT ON COLUMN agent_backup.good_backups.status IS 'complete, or incomplete: another of its tables failed';
COMMENT ON COLUMN agent_backup.good_backups.started_at IS 'When it began: the moment that it brings back';
COMMENT ON COLUMN agent_backup.good_backups.finished_at IS 'When its files were safe on disk';
COMMENT ON COLUMN agent_backup.good_backups.row_count IS 'Rows in it';
COMMENT ON COLUMN agent_backup.good_backups.size_bytes IS 'Bytes on disk';
COMMENT ON COLUMN agent_backup.good_backups.verified_at IS 'When it was last verified; null for never';
COMMENT ON COLUMN agent_backup.good_backups.verification_status IS 'success or warning; null for never';

CREATE VIEW agent_backup.recovery_state AS
WITH moment AS MATERIALIZED (
    SELECT agent_backup.clock() AS now
), captured AS MATERIALIZED (
    SELECT t.relation::oid AS relation, t.since
      FROM agent_backup.tracked t
      JOIN agent_backup.tracked_now n USING (tracked_id)
     WHERE n.is_whole AND t.broken_since IS NULL
)
SELECT m.set_name, m.ordinal, m.schema_name, m.table_name,
       CASE m.schema_name WHEN 'public' THEN '' ELSE pg_catalog.quote_ident(m.schema_name) || '.' END
           || pg_catalog.quote_ident(m.table_name) AS display,
       r.oid AS relation,
       good.backup_id, good.started_at AS backed_up_at,
       last.backup_id AS last_backup_id, last.started_at AS last_backup_at, last.damage, last.damaged_at,
       failed.started_at AS failed_at, failed.error_message AS failure,
       captured.since AS captured_since,
       w.taken_at AS incremental_at,
       CASE WHEN captured.relation IS NOT NULL THEN moment.now ELSE GREATEST(good.started_at, w.taken_at) END AS recoverable_at,
       GREATEST(good.started_at, w.taken_at) AS saved_at,
       moment.now
  FROM agent_backup.set_tables m
 CROSS JOIN moment
  LEFT JOIN LATERAL (
       SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = m.schema_name AND c.relname = m.table_name AND c.relkind IN ('r', 'p', 'f', 'm')) AS r ON true
  LEFT JOIN LATERAL (
       SELECT b.backup_id, b.started_at FROM agent_backup.good_backups b
        WHERE b.set_name = m.set_name
          AND EXISTS (SELECT FROM agent_backup.backup_entry e
                       WHERE e.backup_id = b.backup_id AND e.schema_name = m.schema_name AND e.table_name = m.table_name)
        ORDER BY b.started_at DESC LIMIT 1) AS good ON true
  LEFT JOIN LATERAL (
       SELECT c.backup_id, c.started_at,
              CASE WHEN c.error_message LIKE 'missing on disk:%' THEN c.error_message
                   WHEN c.verification_status = 'failed' THEN 'it failed verification' END AS damage,
              c.verified_at AS damaged_at
         FROM agent_backup.backup_catalog c
        WHERE c.set_name = m.set_name AND c.kind IN ('full', 'archive')
          AND EXISTS (SELECT FROM agent_backup.backup_entry e
                       WHERE e.backup_id = c.backup_id AND e.schema_name = m.schema_name AND e.table_name = m.table_name)
        ORDER BY c.started_at DESC LIMIT 1) AS last ON true
  LEFT JOIN LATERAL (
       SELECT c.started_at, c.error_message FROM agent_backup.backup_catalog c
        WHERE c.set_name = m.set_name AND c.kind IN ('full', 'archive') AND c.status <> 'complete'
          AND c.started_at > good.started_at AND c.error_message NOT LIKE 'missing on disk:%'
          AND NOT EXISTS (SELECT FROM agent_backup.backup_entry e
                           WHERE e.backup_id = c.backup_id AND e.schema_name = m.schema_name AND e.table_name = m.table_name)
        ORDER BY c.started_at DESC LIMIT 1) AS failed ON true
  LEFT JOIN captured ON captured.relation = r.oid
  LEFT JOIN agent_backup.watermarks w
    ON w.set_name = m.set_name AND w.schema_name = m.schema_name AND w.table_name = m.table_name AND w.relation = r.oid
   AND good.backup_id IS NOT NULL AND w.taken_at <= moment.now + interval '5 minutes';
COMMENT ON VIEW agent_backup.recovery_state IS 'Tables of the sets: their newest good backup, and the last moment that each can be brought back to';
COMMENT ON COLUMN agent_backup.recovery_state.set_name IS 'The set';
COMMENT ON COLUMN agent_backup.recovery_state.ordinal IS 'Place in the set';
COMMENT ON COLUMN agent_backup.recovery_state.schema_name IS 'Schema of the table';
COMMENT ON COLUMN agent_backup.recovery_state.table_name IS 'Name of the table';
COMMENT ON COLUMN agent_backup.recovery_state.display IS 'Both, quoted where SQL needs it, without public';
COMMENT ON COLUMN agent_backup.recovery_state.relation IS 'The table; null where it is not in this database';
COMMENT ON COLUMN agent_backup.recovery_state.backup_id IS 'Newest good backup that holds it, see good_backups';
COMMENT ON COLUMN agent_backup.recovery_state.backed_up_at IS 'When that began';
COMMENT ON COLUMN agent_backup.recovery_state.last_backup_id IS 'Newest backup that holds it, good or not';
COMMENT ON COLUMN agent_backup.recovery_state.last_backup_at IS 'When that began';
COMMENT ON COLUMN agent_backup.recovery_state.damage IS 'What is wrong with that; null for nothing';
COMMENT ON COLUMN agent_backup.recovery_state.damaged_at IS 'When that was last verified';
COMMENT ON COLUMN agent_backup.recovery_state.failed_at IS 'When a backup after the newest good one began that failed and does not hold it';
COMMENT ON COLUMN agent_backup.recovery_state.failure IS 'Why it failed';
COMMENT ON COLUMN agent_backup.recovery_state.captured_since IS 'Since when its changes are captured; null where they are not, or not all';
COMMENT ON COLUMN agent_backup.recovery_state.incremental_at IS 'When the last incremental backup read it';
COMMENT ON COLUMN agent_backup.recovery_state.recoverable_at IS 'The last moment that it can be brought back to: now where changes are captured, else that of the last backup';
COMMENT ON COLUMN agent_backup.recovery_state.saved_at IS 'The same without the captured changes, which are lost with the database';
COMMENT ON COLUMN agent_backup.recovery_state.now IS 'The moment that it was judged at';

