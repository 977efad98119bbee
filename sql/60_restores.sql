-- Restores that were done.
CREATE TABLE agent_backup.restores (
    restore_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    backup_id        text,
    set_name         text,
    mode             text NOT NULL CHECK (mode IN ('replace', 'merge', 'missing_only', 'record', 'as_of', 'undo')),
    tables           text[] NOT NULL CHECK (pg_catalog.cardinality(tables) > 0),
    where_clause     text,
    row_count        bigint NOT NULL CHECK (row_count >= 0),
    started_at       timestamptz NOT NULL,
    finished_at      timestamptz NOT NULL,
    restored_by      text NOT NULL,
    safety_backup_id text,
    undoes           bigint REFERENCES agent_backup.restores,
    CHECK (finished_at >= started_at),
    CHECK (backup_id IS NOT NULL OR mode IN ('record', 'as_of', 'undo')),
    UNIQUE (undoes)
);
COMMENT ON TABLE agent_backup.restores IS 'Restores that were done, one row each';
COMMENT ON COLUMN agent_backup.restores.restore_id IS 'Number of the restore, as undo_restore takes it';
COMMENT ON COLUMN agent_backup.restores.backup_id IS 'The backup that the rows came from; null where they came from the log of changes';
COMMENT ON COLUMN agent_backup.restores.set_name IS 'Its set; null where no backup was read';
COMMENT ON COLUMN agent_backup.restores.mode IS 'replace, merge, missing_only; record: a single one; as_of: a table to a moment; undo: changes since a mark';
COMMENT ON COLUMN agent_backup.restores.tables IS 'The tables that got rows';
COMMENT ON COLUMN agent_backup.restores.where_clause IS 'The rows it was limited to, the moment or the mark; null for all';
COMMENT ON COLUMN agent_backup.restores.row_count IS 'Rows read from the backup, or changed from the log';
COMMENT ON COLUMN agent_backup.restores.started_at IS 'When it began';
COMMENT ON COLUMN agent_backup.restores.finished_at IS 'When its last row was in place';
COMMENT ON COLUMN agent_backup.restores.restored_by IS 'Role of the session';
COMMENT ON COLUMN agent_backup.restores.safety_backup_id IS 'Backup of what was there before; null where nothing was overwritten';
COMMENT ON COLUMN agent_backup.restores.undoes IS 'The restore that this one took back';

SELECT pg_catalog.pg_extension_config_dump('agent_backup.restores', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.restores_restore_id_seq', '');
