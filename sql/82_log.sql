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
SELECT pg_catalog.pg_extension_config_dump('agent_backup.sealed_log', '');

CREATE FUNCTION agent_backup.maintain_log(keep interval DEFAULT '30 days', ahead integer DEFAULT 7)
RETURNS TABLE (partition_name text, action text, row_count bigint, file_path text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $fn$
DECLARE
    today   date := (now() AT TIME ZONE 'UTC')::date;
    part    record;
    written record;
    day     date;
    changed bigint := 0;
BEGIN
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
            changed := changed + 1;
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
            changed := changed + 1;
            RETURN NEXT;
        END LOOP;
    EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
        PERFORM agent_backup.note_act('maintain_log'::text, changed, SQLSTATE::text);
        RAISE;
    END;
    PERFORM agent_backup.note_act('maintain_log'::text, changed, NULL::text);
END
$fn$;
COMMENT ON FUNCTION agent_backup.maintain_log IS 'Makes partitions of the log of changes for the days to come, writes those older than keep to files and drops them';

-- What the tables that are tracked are now, to compare with what was noted.
CREATE VIEW agent_backup.tracked_now AS
WITH RECURSIVE tree(tracked_id, oid) AS (
    -- Not by pg_partition_tree, which waits for the locks of others.
    SELECT t.tracked_id, t.relation::oid FROM agent_backup.tracked t
     WHERE t.ended_at IS NULL AND t.home = (SELECT h.home FROM agent_backup.this_home h)
    UNION
    SELECT tree.tracked_id, i.inhrelid FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid
      JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition
)
SELECT t.tracked_id,
       (SELECT COALESCE(pg_catalog.array_agg(p.oid ORDER BY p.oid), '{}') FROM tree p JOIN pg_catalog.pg_class k ON k.oid = p.oid
         WHERE p.tracked_id = t.tracked_id AND p.oid <> t.relation AND k.relkind <> 'p') AS leaves,
       (SELECT COALESCE(pg_catalog.array_agg(a.attname::text ORDER BY a.attnum), '{}') FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = t.relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns,
       (SELECT COALESCE(pg_catalog.array_agg(pg_catalog.format('%s:%s', e.enumtypid, e.enumlabel) ORDER BY e.oid), '{}')
          FROM pg_catalog.pg_enum e
         WHERE e.enumtypid IN (SELECT pg_catalog.unnest(ARRAY[y.oid, y.typelem, y.typbasetype]) FROM pg_catalog.pg_attribute a
                                 JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
                                WHERE a.attrelid = t.relation AND a.attnum > 0 AND NOT a.attisdropped)) AS labels,
       EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = t.relation OR i.inhparent = t.relation) AS has_kin,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger g
         WHERE g.tgrelid = t.relation AND g.tgfoid = 'agent_backup.capture()'::regprocedure AND g.tgenabled = 'A')
       >= CASE t.level WHEN 'statement' THEN 4 ELSE 2 END
       AND NOT EXISTS (SELECT FROM tree p JOIN pg_catalog.pg_trigger g ON g.tgrelid = p.oid
                        WHERE p.tracked_id = t.tracked_id AND g.tgfoid = 'agent_backup.capture()'::regprocedure AND g.tgenabled <> 'A') AS is_whole
  FROM agent_backup.tracked t
  JOIN pg_catalog.pg_class c ON c.oid = t.relation
 WHERE t.ended_at IS NULL AND t.home = (SELECT h.home FROM agent_backup.this_home h);
COMMENT ON VIEW agent_backup.tracked_now IS 'What the tables that are tracked, and are there, are now';
COMMENT ON COLUMN agent_backup.tracked_now.tracked_id IS 'The tracking, see tracked';
COMMENT ON COLUMN agent_backup.tracked_now.leaves IS 'Partitions that hold rows';
COMMENT ON COLUMN agent_backup.tracked_now.columns IS 'Columns that are not generated';
COMMENT ON COLUMN agent_backup.tracked_now.labels IS 'Labels of the enums of its columns';
COMMENT ON COLUMN agent_backup.tracked_now.has_kin IS 'Whether it is a partition, or inherits, or others inherit from it';
COMMENT ON COLUMN agent_backup.tracked_now.is_whole IS 'Whether all of its triggers are there and always fire';

-- DDL can switch the capture of a table off, or change its rows or columns unseen; then the log says so.
CREATE FUNCTION agent_backup.watch_tracked() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $fn$
DECLARE
    t       record;
    leaf    record;
    trigger text;
    filled  boolean;
    reasons text[];
BEGIN
    -- A table that is made can touch a tracked one only as its partition or its heir.
    IF tg_tag = 'CREATE TABLE'
       AND NOT EXISTS (SELECT FROM pg_event_trigger_ddl_commands() AS made JOIN pg_inherits i ON i.inhrelid = made.objid) THEN
        RETURN;
    END IF;
    FOR t IN
        SELECT k.*, n.leaves AS leaves_now, n.columns AS columns_now, n.labels AS labels_now, n.has_kin, n.is_whole
          FROM agent_backup.tracked k JOIN agent_backup.tracked_now n USING (tracked_id)
         WHERE NOT k.remade
           AND (n.leaves <> k.leaves OR n.columns <> k.columns OR n.labels <> k.labels OR (n.has_kin AND k.level = 'statement') OR n.is_whole <> (k.broken_since IS NULL))
    LOOP
        -- What is done here fires the watch again, which is to look away.
        UPDATE agent_backup.tracked SET remade = true WHERE tracked_id = t.tracked_id;
        reasons := '{}';
        trigger := format('FOR EACH %%s EXECUTE FUNCTION agent_backup.capture(%L, %L, %L, %L)', t.tracked_id, t.on_failure, t.on_truncate, t.truncate_limit);
        IF t.has_kin AND t.level = 'statement' AND t.is_whole THEN
            -- Statements that name another table of the family fire no statement triggers of this one.
            EXECUTE format('DROP TRIGGER agent_backup_insert ON %s', t.relation);
            EXECUTE format('DROP TRIGGER agent_backup_update ON %s', t.relation);
            EXECUTE format('DROP TRIGGER agent_backup_delete ON %s', t.relation);
            EXECUTE format('CREATE TRIGGER agent_backup_rows AFTER INSERT OR UPDATE OR DELETE ON %s ', t.relation) || format(trigger, 'ROW');
            EXECUTE format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER agent_backup_rows', t.relation);
            UPDATE agent_backup.tracked SET level = 'row' WHERE tracked_id = t.tracked_id;
        END IF;
        FOR leaf IN
            SELECT o AS oid, c.oid::regclass AS name, o = ANY (t.leaves_now) AS came
              FROM unnest(t.leaves || t.leaves_now) AS o LEFT JOIN pg_class c ON c.oid = o
             GROUP BY o, c.oid HAVING (o = ANY (t.leaves)) <> (o = ANY (t.leaves_now))
        LOOP
            IF leaf.came THEN
                EXECUTE format('SELECT EXISTS (SELECT FROM %s)', leaf.name) INTO filled;
                IF filled THEN
                    reasons := reasons || format('partition %s came with rows', leaf.name);
                END IF;
                EXECUTE format('CREATE OR REPLACE TRIGGER agent_backup_truncate BEFORE TRUNCATE ON %s ', leaf.name) || format(trigger, 'STATEMENT');
                EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER agent_backup_truncate', leaf.name);
            ELSE
                reasons := reasons || 'a partition was detached or dropped'::text;
                IF leaf.name IS NOT NULL THEN
                    EXECUTE format('DROP TRIGGER IF EXISTS agent_backup_truncate ON %s', leaf.name);
                END IF;
            END IF;
        END LOOP;
        IF NOT t.columns <@ t.columns_now AND NOT t.columns_now <@ t.columns THEN
            reasons := reasons || 'columns were renamed'::text;
        END IF;
        IF NOT t.labels <@ t.labels_now AND t.columns <@ t.columns_now THEN
            reasons := reasons || 'labels of an enum were renamed'::text;
        END IF;
        IF t.is_whole AND t.broken_since IS NOT NULL THEN
            reasons := reasons || 'its triggers were missing until now'::text;
        ELSIF NOT t.is_whole AND t.broken_since IS NULL THEN
            reasons := reasons || 'its triggers were switched off or dropped'::text;
            RAISE WARNING 'changes of table "%.%" are captured no longer', t.schema_name, t.table_name
                  USING HINT = format('Track it again: SELECT * FROM agent_backup.track(%L);', t.schema_name || '.' || t.table_name);
        END IF;
        INSERT INTO agent_backup.capture_gaps (tracked_id, reason) SELECT t.tracked_id, reason FROM unnest(reasons) AS reason;
        UPDATE agent_backup.tracked
           SET remade = false, leaves = t.leaves_now, columns = t.columns_now, labels = t.labels_now,
               broken_since = CASE WHEN NOT t.is_whole THEN COALESCE(broken_since, clock_timestamp()) END
         WHERE tracked_id = t.tracked_id;
    END LOOP;
END
$fn$;
COMMENT ON FUNCTION agent_backup.watch_tracked() IS 'Notes a gap when DDL changes a tracked table unseen by its triggers or switches them off, and gives new partitions theirs';

CREATE EVENT TRIGGER agent_backup_watch ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'DROP TABLE', 'ALTER TYPE', 'ALTER TRIGGER', 'DROP TRIGGER')
    EXECUTE FUNCTION agent_backup.watch_tracked();
ALTER EVENT TRIGGER agent_backup_watch ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER agent_backup_watch IS 'Notices DDL that the capture of a tracked table does not see';
