-- What keeps the log of changes whole and small: the watch over the triggers, and its partitions.
CREATE TABLE agent_backup.sealed_log (
    partition_name text PRIMARY KEY,
    from_time      timestamptz NOT NULL,
    until_time     timestamptz NOT NULL CHECK (until_time > from_time),
    row_count      bigint NOT NULL CHECK (row_count >= 0),
    file_path      text,
    checksum       text,
    sealed_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((row_count = 0) = (file_path IS NULL)),
    CHECK ((file_path IS NULL) = (checksum IS NULL))
);
COMMENT ON TABLE agent_backup.sealed_log IS 'Days of the log of changes that were written to a file and dropped';
COMMENT ON COLUMN agent_backup.sealed_log.partition_name IS 'The partition of change_log that it was';
COMMENT ON COLUMN agent_backup.sealed_log.from_time IS 'Its first moment';
COMMENT ON COLUMN agent_backup.sealed_log.until_time IS 'The moment after its last';
COMMENT ON COLUMN agent_backup.sealed_log.row_count IS 'Changes in it';
COMMENT ON COLUMN agent_backup.sealed_log.file_path IS 'The file, CSV as COPY writes it; null where there was no change';
COMMENT ON COLUMN agent_backup.sealed_log.checksum IS 'Row digest of the file, 32 hex digits';
COMMENT ON COLUMN agent_backup.sealed_log.sealed_at IS 'When it was written and dropped';
GRANT SELECT ON agent_backup.sealed_log TO agent_backup_operator;
SELECT pg_catalog.pg_extension_config_dump('agent_backup.sealed_log', '');

CREATE FUNCTION agent_backup.maintain_log(keep interval DEFAULT '30 days', ahead integer DEFAULT 7)
RETURNS TABLE (partition_name text, action text, row_count bigint, file_path text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $fn$
DECLARE
    today   date := (now() AT TIME ZONE 'UTC')::date;
    part    record;
    written record;
    day     date;
BEGIN
    IF keep IS NULL OR keep < '1 day' THEN
        RAISE EXCEPTION 'invalid keep: it is below one day' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF ahead IS NULL OR ahead NOT BETWEEN 1 AND 366 THEN
        RAISE EXCEPTION 'invalid ahead: it is not between 1 and 366' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- The files first, under a lock that lets writers on; what shuts them out comes last.
    FOR part IN
        SELECT c.oid, c.relname, to_date(right(c.relname, 8), 'YYYYMMDD') AS of_day
          FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'agent_backup.change_log'::regclass AND c.relname ~ '^change_log_[0-9]{8}$'
         ORDER BY 2
    LOOP
        CONTINUE WHEN (part.of_day + 1)::timestamp AT TIME ZONE 'UTC' > now() - keep;
        EXECUTE format('SELECT count(*) FROM agent_backup.%I', part.relname) INTO row_count;
        file_path := NULL;
        IF row_count > 0 THEN
            SELECT e.* INTO STRICT written
              FROM agent_backup.export_table(format('agent_backup.%I', part.relname), 'csv', format('changes/%s.csv.gz', part.relname)) AS e;
            file_path := written.export_file;
        END IF;
        INSERT INTO agent_backup.sealed_log (partition_name, from_time, until_time, row_count, file_path, checksum)
        VALUES (part.relname, part.of_day::timestamp AT TIME ZONE 'UTC', (part.of_day + 1)::timestamp AT TIME ZONE 'UTC',
                row_count, file_path, CASE WHEN row_count > 0 THEN written.checksum END);
        EXECUTE format('DROP TABLE agent_backup.%I', part.relname);
        partition_name := part.relname;
        action := 'sealed';
        RETURN NEXT;
    END LOOP;
    FOR day IN SELECT today + n FROM generate_series(1, ahead) AS n LOOP
        partition_name := 'change_log_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('agent_backup.' || partition_name) IS NOT NULL
                   OR EXISTS (SELECT FROM agent_backup.change_log_default
                               WHERE changed_at >= day::timestamp AT TIME ZONE 'UTC' AND changed_at < (day + 1)::timestamp AT TIME ZONE 'UTC');
        EXECUTE format('CREATE TABLE agent_backup.%I PARTITION OF agent_backup.change_log FOR VALUES FROM (%L) TO (%L)',
                       partition_name, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
        action := 'made';
        row_count := 0;
        file_path := NULL;
        RETURN NEXT;
    END LOOP;
END
$fn$;
COMMENT ON FUNCTION agent_backup.maintain_log IS 'Makes partitions of the log of changes for the days to come, writes those older than keep to files and drops them';
REVOKE ALL ON FUNCTION agent_backup.maintain_log FROM PUBLIC;
GRANT EXECUTE ON FUNCTION agent_backup.maintain_log TO agent_backup_operator;

-- ALTER TABLE and DROP TRIGGER can switch the capture of a table off; then the log says so.
CREATE FUNCTION agent_backup.watch_tracked() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $fn$
DECLARE
    broken record;
    leaf   record;
BEGIN
    IF NOT EXISTS (SELECT FROM agent_backup.tracked WHERE ended_at IS NULL) THEN
        RETURN;
    END IF;
    -- Partitions that came later have the parent's row triggers, but not those of statements.
    FOR leaf IN
        SELECT t.tracked_id, n.nspname, c.relname
          FROM agent_backup.tracked t
          CROSS JOIN LATERAL pg_partition_tree(t.relation) AS p
          JOIN pg_class c ON c.oid = p.relid
          JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE t.ended_at IS NULL AND p.level > 0
           AND NOT EXISTS (SELECT FROM pg_trigger g
                            WHERE g.tgrelid = c.oid AND g.tgfoid = 'agent_backup.capture()'::regprocedure AND g.tgname = 'agent_backup_truncate')
    LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER agent_backup_truncate BEFORE TRUNCATE ON %I.%I FOR EACH STATEMENT EXECUTE FUNCTION agent_backup.capture(%L)',
                       leaf.nspname, leaf.relname, leaf.tracked_id);
        EXECUTE format('ALTER TABLE %I.%I ENABLE ALWAYS TRIGGER agent_backup_truncate', leaf.nspname, leaf.relname);
    END LOOP;
    FOR broken IN
        UPDATE agent_backup.tracked t SET broken_since = clock_timestamp()
         WHERE t.ended_at IS NULL AND t.broken_since IS NULL AND NOT agent_backup.is_captured(t.relation, t.level)
        RETURNING t.tracked_id, t.schema_name, t.table_name
    LOOP
        INSERT INTO agent_backup.capture_gaps (tracked_id, reason) VALUES (broken.tracked_id, 'its triggers were switched off or dropped');
        RAISE WARNING 'changes of table "%.%" are captured no longer', broken.schema_name, broken.table_name
              USING HINT = format('Track it again: SELECT * FROM agent_backup.track(%L);', broken.schema_name || '.' || broken.table_name);
    END LOOP;
END
$fn$;
COMMENT ON FUNCTION agent_backup.watch_tracked() IS 'Notes a gap when the triggers of a tracked table are switched off, and gives new partitions theirs';
REVOKE ALL ON FUNCTION agent_backup.watch_tracked() FROM PUBLIC;

CREATE FUNCTION agent_backup.is_captured(relation regclass, level text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $fn$
    SELECT NOT EXISTS (SELECT FROM pg_class WHERE oid = $1)
        OR ((SELECT count(*) FROM pg_trigger
              WHERE tgrelid = $1 AND tgfoid = 'agent_backup.capture()'::regprocedure AND tgenabled = 'A')
            >= CASE $2 WHEN 'statement' THEN 4 ELSE 2 END
            AND NOT EXISTS (SELECT FROM pg_partition_tree($1) AS p JOIN pg_trigger g ON g.tgrelid = p.relid
                             WHERE g.tgfoid = 'agent_backup.capture()'::regprocedure AND g.tgenabled <> 'A'))
$fn$;
COMMENT ON FUNCTION agent_backup.is_captured IS 'Whether all triggers of a tracked table are there and always fire; true of one that is gone';

CREATE EVENT TRIGGER agent_backup_watch ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'ALTER TRIGGER', 'DROP TRIGGER')
    EXECUTE FUNCTION agent_backup.watch_tracked();
ALTER EVENT TRIGGER agent_backup_watch ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER agent_backup_watch IS 'Notices when the capture of a tracked table is switched off';
