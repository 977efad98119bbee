-- The archive of rows, in the schema of the extension under the name that applications use. An application that has such a
-- table keeps it: it is not changed, and it is no member of the extension. Else it is a view over rows that are kept in a
-- table of ours and over the log of captured changes.
CREATE FUNCTION agent_backup.keep_archive_rows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $fn$
BEGIN
    IF pg_catalog.to_regclass('agent_backup.keeps_archive_rows') IS NULL THEN
        -- Two sessions may have the first row at the same moment.
        LOCK TABLE agent_backup.archive_rows IN SHARE UPDATE EXCLUSIVE MODE;
        IF pg_catalog.to_regclass('agent_backup.keeps_archive_rows') IS NULL THEN
            CREATE VIEW agent_backup.keeps_archive_rows AS SELECT id FROM agent_backup.archive_rows;
            COMMENT ON VIEW agent_backup.keeps_archive_rows IS 'Keeps DROP EXTENSION from taking archived rows along without CASCADE';
        END IF;
    END IF;
    RETURN NULL;
END
$fn$;
COMMENT ON FUNCTION agent_backup.keep_archive_rows() IS 'With the first archived row, makes the view that DROP EXTENSION asks CASCADE for';

-- What INSERT, UPDATE and DELETE do to the view. Ids below the limit are those of captured changes.
CREATE FUNCTION agent_backup.change_archive() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $fn$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO agent_backup.archive_rows (id, original_table, original_id, data, archive_reason, archived_at)
        VALUES (coalesce(NEW.id, pg_catalog.gen_random_uuid()), NEW.original_table, NEW.original_id, NEW.data, NEW.archive_reason,
                coalesce(NEW.archived_at, pg_catalog.now()))
        RETURNING id, archived_at INTO NEW.id, NEW.archived_at;
        RETURN NEW;
    ELSIF TG_OP = 'UPDATE' THEN
        IF OLD.id < '00000000-0000-0001-0000-000000000000' THEN
            RAISE EXCEPTION 'row "%" of "agent_training_archive" is a captured change, which cannot be changed', OLD.id
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'DELETE erases its data; INSERT adds a row beside it.';
        END IF;
        UPDATE agent_backup.archive_rows
           SET id = NEW.id, original_table = NEW.original_table, original_id = NEW.original_id, data = NEW.data,
               archive_reason = NEW.archive_reason, archived_at = NEW.archived_at
         WHERE id = OLD.id;
        RETURN CASE WHEN FOUND THEN NEW END;
    ELSIF OLD.id >= '00000000-0000-0001-0000-000000000000' THEN
        DELETE FROM agent_backup.archive_rows WHERE id = OLD.id;
    ELSIF OLD.original_id IS NULL THEN
        UPDATE agent_backup.change_log SET image = NULL, old_columns = NULL, old_values = NULL
         WHERE seq = ('x' || pg_catalog.right(pg_catalog.replace(OLD.id::text, '-', ''), 16))::bit(64)::bigint AND changed_at = OLD.archived_at;
    ELSE
        UPDATE agent_backup.change_log SET image = NULL, old_columns = NULL, old_values = NULL
         WHERE seq = ('x' || pg_catalog.right(pg_catalog.replace(OLD.id::text, '-', ''), 16))::bit(64)::bigint AND row_key = OLD.original_id
           AND tracked_id IN (SELECT t.tracked_id FROM agent_backup.tracked t);
    END IF;
    RETURN CASE WHEN FOUND THEN OLD END;
END
$fn$;
COMMENT ON FUNCTION agent_backup.change_archive() IS 'What INSERT, UPDATE and DELETE do to agent_training_archive where that is a view';

DO $do$
DECLARE
    archive regclass := pg_catalog.to_regclass('@extschema@.agent_training_archive');
    kind    "char" := (SELECT c.relkind FROM pg_catalog.pg_class c WHERE c.oid = archive);
    wrong   text;
BEGIN
    IF archive IS NULL THEN
        CREATE TABLE agent_backup.archive_rows (
            id             uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid() CHECK (id >= '00000000-0000-0001-0000-000000000000'),
            original_table text,
            original_id    text COLLATE pg_catalog."C",
            data           jsonb,
            archive_reason text,
            archived_at    timestamptz DEFAULT pg_catalog.now()
        );
        CREATE INDEX archive_rows_original ON agent_backup.archive_rows (original_table, original_id, archived_at);
        CREATE INDEX archive_rows_original_id ON agent_backup.archive_rows (original_id);
        COMMENT ON TABLE agent_backup.archive_rows IS 'Archived rows. Read and change them through agent_training_archive';
        COMMENT ON COLUMN agent_backup.archive_rows.id IS 'Name of the entry';
        COMMENT ON COLUMN agent_backup.archive_rows.original_table IS 'The table that the row is of, with its schema unless that is public';
        COMMENT ON COLUMN agent_backup.archive_rows.original_id IS 'Primary key of the row: the text of one column, a line of CSV of several';
        COMMENT ON COLUMN agent_backup.archive_rows.data IS 'The row';
        COMMENT ON COLUMN agent_backup.archive_rows.archive_reason IS 'Why it was archived';
        COMMENT ON COLUMN agent_backup.archive_rows.archived_at IS 'When';
        CREATE TRIGGER keep_archive_rows AFTER INSERT ON agent_backup.archive_rows
            FOR EACH STATEMENT EXECUTE FUNCTION agent_backup.keep_archive_rows();
        COMMENT ON TRIGGER keep_archive_rows ON agent_backup.archive_rows IS 'Keeps DROP EXTENSION from taking rows along without CASCADE';
        PERFORM pg_catalog.pg_extension_config_dump('agent_backup.archive_rows', '');

        CREATE VIEW @extschema@.agent_training_archive AS
        SELECT a.id, a.original_table, a.original_id, a.data, a.archive_reason, a.archived_at
          FROM agent_backup.archive_rows a
        UNION ALL
        SELECT pg_catalog.lpad(pg_catalog.to_hex(c.seq), 32, '0')::uuid,
               CASE t.schema_name WHEN 'public' THEN t.table_name ELSE t.schema_name || '.' || t.table_name END,
               c.row_key,
               agent_backup.image_to_jsonb(s.columns, s.types, c.image),
               CASE c.operation WHEN 'I' THEN 'change_insert' WHEN 'U' THEN 'change_update' WHEN 'D' THEN 'change_delete' ELSE 'change_truncate' END,
               c.changed_at
          FROM agent_backup.change_log c
          JOIN agent_backup.tracked t ON t.tracked_id = c.tracked_id
          CROSS JOIN LATERAL (SELECT r.columns, r.types FROM agent_backup.row_shapes r WHERE r.shape_id = c.shape_id LIMIT 1) AS s
         WHERE c.image IS NOT NULL;
        ALTER VIEW @extschema@.agent_training_archive ALTER COLUMN id SET DEFAULT pg_catalog.gen_random_uuid();
        ALTER VIEW @extschema@.agent_training_archive ALTER COLUMN archived_at SET DEFAULT pg_catalog.now();
        CREATE TRIGGER change_archive INSTEAD OF INSERT OR UPDATE OR DELETE ON @extschema@.agent_training_archive
            FOR EACH ROW EXECUTE FUNCTION agent_backup.change_archive();
        COMMENT ON TRIGGER change_archive ON @extschema@.agent_training_archive IS 'Changes the rows that are kept; a captured change can only be erased';
        COMMENT ON VIEW @extschema@.agent_training_archive IS 'Archived rows: those that incremental backups and applications put here, and every captured change of the tracked tables';
        COMMENT ON COLUMN @extschema@.agent_training_archive.id IS 'Name of the entry; of a captured change, made of its number';
        COMMENT ON COLUMN @extschema@.agent_training_archive.original_table IS 'The table that the row is of, with its schema unless that is public';
        COMMENT ON COLUMN @extschema@.agent_training_archive.original_id IS 'Primary key of the row: the text of one column, a line of CSV of several';
        COMMENT ON COLUMN @extschema@.agent_training_archive.data IS 'The row; of a delete, as it was before';
        COMMENT ON COLUMN @extschema@.agent_training_archive.archive_reason IS 'incremental_backup, change_insert, change_update, change_delete, change_truncate, or what the application gave';
        COMMENT ON COLUMN @extschema@.agent_training_archive.archived_at IS 'When it was archived, or the change was made';
        RETURN;
    END IF;

    IF kind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION '"%" exists already and is no table', archive
            USING ERRCODE = 'wrong_object_type', HINT = 'Rename it, then run CREATE EXTENSION agent_backup again.';
    END IF;
    -- Columns that must be there, with the types that will do, and whether they need a default.
    SELECT pg_catalog.string_agg(CASE
               WHEN a.attname IS NULL THEN pg_catalog.format('column "%s" is missing', w.name)
               WHEN a.attgenerated <> '' THEN pg_catalog.format('column "%s" is generated', w.name)
               WHEN pg_catalog.format_type(a.atttypid, a.atttypmod) <> ALL (w.types)
               THEN pg_catalog.format('column "%s" has type %s, not %s', w.name, pg_catalog.format_type(a.atttypid, a.atttypmod),
                                      pg_catalog.array_to_string(w.types, ' or '))
               ELSE pg_catalog.format('column "%s" has no default', w.name) END, '; ' ORDER BY w.place)
      INTO wrong
      FROM (VALUES (1, 'original_table', '{text,character varying}'::text[], false), (2, 'original_id', '{text,character varying}', false),
                   (3, 'data', '{jsonb,json}', false), (4, 'archive_reason', '{text,character varying}', false),
                   (5, 'archived_at', '{timestamp without time zone,timestamp with time zone}', true)) AS w(place, name, types, has_default)
      LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = archive AND a.attname = w.name AND a.attnum > 0 AND NOT a.attisdropped
     WHERE a.attname IS NULL OR a.attgenerated <> '' OR pg_catalog.format_type(a.atttypid, a.atttypmod) <> ALL (w.types)
        OR (w.has_default AND NOT a.atthasdef);
    SELECT nullif(pg_catalog.concat_ws('; ', wrong, pg_catalog.string_agg(pg_catalog.format('column "%s" is not null and has no default', a.attname), '; ')), '')
      INTO wrong
      FROM pg_catalog.pg_attribute a
     WHERE a.attrelid = archive AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
       AND a.attname <> ALL ('{original_table,original_id,data,archive_reason,archived_at}');
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'table "%" cannot take archived rows: %', archive, wrong
            USING ERRCODE = 'datatype_mismatch',
                  HINT = 'Change the column, or rename the table, then run CREATE EXTENSION agent_backup again.';
    END IF;
    RAISE NOTICE 'table "%" is there already: incremental backups archive rows in it, and it stays when the extension goes', archive;
END
$do$;
