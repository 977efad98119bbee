-- Incremental backups: how far each table was copied, and by what its changes are told.
CREATE TABLE agent_backup.change_sources (
    set_name    text NOT NULL,
    schema_name text NOT NULL,
    table_name  text NOT NULL,
    source      text NOT NULL CHECK (source IN ('timestamp', 'snapshot')),
    PRIMARY KEY (set_name, schema_name, table_name),
    FOREIGN KEY (set_name, schema_name, table_name) REFERENCES agent_backup.set_tables ON UPDATE CASCADE ON DELETE CASCADE
);
COMMENT ON TABLE agent_backup.change_sources IS 'Members of sets for which set_change_source chose by what changed rows are told';
COMMENT ON COLUMN agent_backup.change_sources.set_name IS 'The set';
COMMENT ON COLUMN agent_backup.change_sources.schema_name IS 'Schema of the table';
COMMENT ON COLUMN agent_backup.change_sources.table_name IS 'Name of the table';
COMMENT ON COLUMN agent_backup.change_sources.source IS 'timestamp: by updated_at and created_at; snapshot: by the transactions that wrote the rows';

-- Not dumped: the numbers of transactions mean nothing on another cluster, where the first run copies all rows.
CREATE TABLE agent_backup.watermarks (
    set_name          text NOT NULL,
    schema_name       text NOT NULL,
    table_name        text NOT NULL,
    source            text NOT NULL CHECK (source IN ('capture', 'snapshot', 'timestamp')),
    relation          oid NOT NULL,
    storage           oid[] NOT NULL,
    snapshot          pg_snapshot NOT NULL,
    oldest_xact_start timestamptz NOT NULL,
    taken_at          timestamptz NOT NULL,
    row_count         bigint NOT NULL CHECK (row_count >= 0),
    tombstones        bigint NOT NULL CHECK (tombstones >= 0),
    file_name         text,
    PRIMARY KEY (set_name, schema_name, table_name),
    -- A member that is taken out and added again, perhaps with another filter, begins anew.
    FOREIGN KEY (set_name, schema_name, table_name) REFERENCES agent_backup.set_tables ON UPDATE CASCADE ON DELETE CASCADE
);
COMMENT ON TABLE agent_backup.watermarks IS 'How far the last incremental backup of each table came';
COMMENT ON COLUMN agent_backup.watermarks.set_name IS 'The set';
COMMENT ON COLUMN agent_backup.watermarks.schema_name IS 'Schema of the table';
COMMENT ON COLUMN agent_backup.watermarks.table_name IS 'Name of the table';
COMMENT ON COLUMN agent_backup.watermarks.source IS 'By what changes were told: capture (the log), snapshot (transactions) or timestamp';
COMMENT ON COLUMN agent_backup.watermarks.relation IS 'The table itself: another one of the same name begins anew';
COMMENT ON COLUMN agent_backup.watermarks.storage IS 'It or its partitions: rows of a partition that was attached since are all new';
COMMENT ON COLUMN agent_backup.watermarks.snapshot IS 'Which transactions had committed when it was read';
COMMENT ON COLUMN agent_backup.watermarks.oldest_xact_start IS 'When the oldest transaction began that ran then: no row with a younger time was missed';
COMMENT ON COLUMN agent_backup.watermarks.taken_at IS 'When the snapshot was taken';
COMMENT ON COLUMN agent_backup.watermarks.row_count IS 'Rows that were copied';
COMMENT ON COLUMN agent_backup.watermarks.tombstones IS 'Deleted rows that were noted';
COMMENT ON COLUMN agent_backup.watermarks.file_name IS 'The last file that was written; null while nothing had changed';

CREATE VIEW agent_backup.tracked_tables AS
WITH active AS (
    SELECT t.*, coalesce(n.nspname::text, t.schema_name) AS schema_now, coalesce(c.relname::text, t.table_name) AS name_now
      FROM agent_backup.tracked t
      LEFT JOIN pg_catalog.pg_class c ON c.oid = t.relation
      LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE t.ended_at IS NULL
), named AS (
    SELECT m.set_name, m.ordinal, coalesce(m.schema_name, a.schema_now) AS schema_name, coalesce(m.table_name, a.name_now) AS table_name,
           a.tracked_id, a.since, a.on_failure, a.on_truncate
      FROM agent_backup.set_tables m
      FULL JOIN active a ON a.schema_now = m.schema_name AND a.name_now = m.table_name
)
SELECT x.set_name,
       CASE x.schema_name WHEN 'public' THEN pg_catalog.quote_ident(x.table_name)
            ELSE pg_catalog.format('%I.%I', x.schema_name, x.table_name) END AS table_name,
       CASE WHEN x.tracked_id IS NOT NULL THEN 'capture'
            WHEN s.source IS NOT NULL THEN s.source
            WHEN c.relkind = 'f' THEN 'timestamp'
            WHEN c.relkind IN ('r', 'p', 'm') THEN 'snapshot' END AS source,
       x.since,
       w.taken_at AS watermark_at,
       w.row_count AS last_rows,
       w.file_name AS last_file,
       (SELECT pg_catalog.count(*) FROM agent_backup.capture_gaps g WHERE g.tracked_id = x.tracked_id) AS gaps,
       x.on_failure,
       x.on_truncate
  FROM named x
  LEFT JOIN agent_backup.change_sources s ON (s.set_name, s.schema_name, s.table_name) = (x.set_name, x.schema_name, x.table_name)
  LEFT JOIN agent_backup.watermarks w ON (w.set_name, w.schema_name, w.table_name) = (x.set_name, x.schema_name, x.table_name)
  LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = x.schema_name
  LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = x.table_name
 ORDER BY x.set_name, x.ordinal, 2;
COMMENT ON VIEW agent_backup.tracked_tables IS 'Tables of the sets and tables whose changes are captured: by what changes are told, and how far incremental backups came';
COMMENT ON COLUMN agent_backup.tracked_tables.set_name IS 'The set; null for a tracked table that is in none';
COMMENT ON COLUMN agent_backup.tracked_tables.table_name IS 'The table, quoted where SQL needs it, with its schema unless that is public';
COMMENT ON COLUMN agent_backup.tracked_tables.source IS 'capture, snapshot or timestamp; null where the table is not here';
COMMENT ON COLUMN agent_backup.tracked_tables.since IS 'Since when changes are captured; null where they are not';
COMMENT ON COLUMN agent_backup.tracked_tables.watermark_at IS 'When the last incremental backup read the table';
COMMENT ON COLUMN agent_backup.tracked_tables.last_rows IS 'Rows that it copied';
COMMENT ON COLUMN agent_backup.tracked_tables.last_file IS 'The last file that was written for the table';
COMMENT ON COLUMN agent_backup.tracked_tables.gaps IS 'Changes that capture could not keep';
COMMENT ON COLUMN agent_backup.tracked_tables.on_failure IS 'What becomes of a write whose change cannot be captured: fail or gap';
COMMENT ON COLUMN agent_backup.tracked_tables.on_truncate IS 'What a TRUNCATE of a large table does: capture, refuse or mark';

-- The seed's call for a moment without time zone, which is meant in the time zone of the session.
CREATE FUNCTION @extschema@.backup_agent_incremental(since_timestamp timestamp)
RETURNS TABLE (table_name text, rows_backed_up bigint)
LANGUAGE sql AS $fn$ SELECT * FROM @extschema@.backup_agent_incremental($1::timestamptz) $fn$;

SELECT pg_catalog.pg_extension_config_dump('agent_backup.change_sources', '');
