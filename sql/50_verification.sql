-- The log of verifications, in the schema of the extension under the name that applications query. An application that
-- has such a table keeps it: missing columns are added, its rows are not touched, and it is no member of the extension.
DO $do$
DECLARE
    log   regclass := pg_catalog.to_regclass('@extschema@.backup_verification_log');
    kind  "char" := (SELECT c.relkind FROM pg_catalog.pg_class c WHERE c.oid = log);
    wrong text;
BEGIN
    IF log IS NULL THEN
        CREATE TABLE @extschema@.backup_verification_log (
            id                  uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
            backup_date         date NOT NULL,
            table_name          text NOT NULL CHECK (table_name <> ''),
            verification_status text CHECK (verification_status IN ('success', 'failed', 'warning')),
            row_count           bigint CHECK (row_count >= 0),
            size_bytes          bigint CHECK (size_bytes >= 0),
            checksum            text,
            verified_at         timestamptz DEFAULT pg_catalog.now(),
            error_message       text,
            backup_id           text,
            format              text CHECK (format IN ('csv', 'json', 'sql')),
            level               text CHECK (level IN ('exists', 'hash', 'decode', 'restore')),
            duration            interval CHECK (duration >= '0'),
            digest_algorithm    text,
            details             jsonb,
            CHECK (verification_status <> 'success' OR error_message IS NULL),
            CHECK (verification_status <> 'failed' OR error_message IS NOT NULL)
        );
        CREATE INDEX backup_verification_log_date ON @extschema@.backup_verification_log (backup_date DESC, table_name);
        CREATE INDEX backup_verification_log_table ON @extschema@.backup_verification_log (table_name, backup_date);
        COMMENT ON TABLE @extschema@.backup_verification_log IS 'Results of verify and verify_daily_backups, one row per table';
        COMMENT ON COLUMN @extschema@.backup_verification_log.id IS 'Name of the row';
        COMMENT ON COLUMN @extschema@.backup_verification_log.backup_date IS 'Day in UTC of the newest backup of the table that is known to be good by this check: its own where it is good, else that of the last good one before, else -infinity';
        COMMENT ON COLUMN @extschema@.backup_verification_log.table_name IS 'The table as it is spelt, with its schema unless that is public';
        COMMENT ON COLUMN @extschema@.backup_verification_log.verification_status IS 'success, warning or failed';
        COMMENT ON COLUMN @extschema@.backup_verification_log.row_count IS 'Rows found';
        COMMENT ON COLUMN @extschema@.backup_verification_log.size_bytes IS 'Bytes that the table takes in the backup';
        COMMENT ON COLUMN @extschema@.backup_verification_log.checksum IS 'Digest of the rows found, 32 hex digits';
        COMMENT ON COLUMN @extschema@.backup_verification_log.verified_at IS 'When it was checked';
        COMMENT ON COLUMN @extschema@.backup_verification_log.error_message IS 'What is wrong; null where all is well';
        COMMENT ON COLUMN @extschema@.backup_verification_log.backup_id IS 'The backup that was checked; null where there is none';
        COMMENT ON COLUMN @extschema@.backup_verification_log.format IS 'csv, json or sql; null where all formats of the table were checked as one';
        COMMENT ON COLUMN @extschema@.backup_verification_log.level IS 'How much was checked: exists, hash, decode or restore';
        COMMENT ON COLUMN @extschema@.backup_verification_log.duration IS 'How long the check of this table took';
        COMMENT ON COLUMN @extschema@.backup_verification_log.digest_algorithm IS 'How the checksum is computed';
        COMMENT ON COLUMN @extschema@.backup_verification_log.details IS 'All findings, and what the level does not prove';
        GRANT SELECT ON @extschema@.backup_verification_log TO agent_backup_operator;
        PERFORM pg_catalog.pg_extension_config_dump('@extschema@.backup_verification_log', '');
        RETURN;
    END IF;

    IF kind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION '"%" exists already and is no table', log
            USING ERRCODE = 'wrong_object_type', HINT = 'Rename it, then run CREATE EXTENSION agent_backup again.';
    END IF;
    -- Columns that must be there, and those that may be missing, with the types that will do.
    SELECT pg_catalog.string_agg(CASE
               WHEN a.attname IS NULL THEN pg_catalog.format('column "%s" is missing', w.name)
               WHEN a.attgenerated <> '' THEN pg_catalog.format('column "%s" is generated', w.name)
               ELSE pg_catalog.format('column "%s" has type %s, not %s', w.name, pg_catalog.format_type(a.atttypid, a.atttypmod),
                                      pg_catalog.array_to_string(w.types, ' or ')) END, '; ' ORDER BY w.place)
      INTO wrong
      FROM (VALUES (1, 'id', '{uuid}'::text[], true), (2, 'backup_date', '{date}', true),
                   (3, 'table_name', '{text,character varying}', true), (4, 'verification_status', '{text,character varying}', true),
                   (5, 'row_count', '{integer,bigint}', true), (6, 'size_bytes', '{bigint}', true),
                   (7, 'checksum', '{text,character varying}', true),
                   (8, 'verified_at', '{timestamp without time zone,timestamp with time zone}', true),
                   (9, 'error_message', '{text,character varying}', true), (10, 'backup_id', '{text}', false), (11, 'format', '{text}', false),
                   (12, 'level', '{text}', false), (13, 'duration', '{interval}', false), (14, 'digest_algorithm', '{text}', false),
                   (15, 'details', '{jsonb}', false)) AS w(place, name, types, needed)
      LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = log AND a.attname = w.name AND a.attnum > 0 AND NOT a.attisdropped
     WHERE (a.attname IS NULL AND w.needed)
        OR (a.attname IS NOT NULL AND (a.attgenerated <> '' OR pg_catalog.format_type(a.atttypid, a.atttypmod) <> ALL (w.types)));
    SELECT pg_catalog.concat_ws('; ', wrong, pg_catalog.string_agg(pg_catalog.format('column "%s" is not null and has no default', a.attname), '; '))
      INTO wrong
      FROM pg_catalog.pg_attribute a
     WHERE a.attrelid = log AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
       AND a.attname <> ALL ('{id,backup_date,table_name,verification_status,verified_at}');
    IF wrong <> '' THEN
        RAISE EXCEPTION 'table "%" cannot take the log of verifications: %', log, wrong
            USING ERRCODE = 'datatype_mismatch',
                  HINT = 'Change the column, or rename the table, then run CREATE EXTENSION agent_backup again.';
    END IF;
    ALTER TABLE @extschema@.backup_verification_log
        ADD COLUMN IF NOT EXISTS backup_id text, ADD COLUMN IF NOT EXISTS format text, ADD COLUMN IF NOT EXISTS level text,
        ADD COLUMN IF NOT EXISTS duration interval, ADD COLUMN IF NOT EXISTS digest_algorithm text,
        ADD COLUMN IF NOT EXISTS details jsonb;
    RAISE NOTICE 'table "%" is there already: verifications are logged in it, and it stays when the extension goes', log;
END
$do$;
