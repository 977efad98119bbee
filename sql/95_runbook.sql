-- What to do when something is lost: the steps as commands for this very database.
CREATE FUNCTION agent_backup.runbook(scenario text DEFAULT NULL, set_name text DEFAULT 'agent_sdk')
RETURNS TABLE (incident text, step integer, title text, command text, note text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO' AS $fn$
#variable_conflict use_column
DECLARE
    wanted    text := runbook.scenario;
    of_set    text := runbook.set_name;
    titles    text[] := '{Assess damage,Identify recovery point,Restore data,Verify recovery,Resume operations}';
    writes    text := 'CHANGES DATA; what was there is saved first, and undo_restore() brings it back';
    newest    text;
    directory text;
BEGIN
    IF wanted <> ALL ('{record,table,database,disaster}') THEN
        RAISE EXCEPTION 'invalid scenario: it is "%", not record, table, database or disaster', wanted USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF of_set IS NULL OR NOT EXISTS (SELECT FROM agent_backup.sets s WHERE s.set_name = of_set) THEN
        RAISE EXCEPTION 'backup set "%" does not exist', of_set USING ERRCODE = 'undefined_object', HINT = 'SELECT set_name FROM agent_backup.sets;';
    END IF;
    newest := (SELECT b.backup_id FROM agent_backup.good_backups b WHERE b.set_name = of_set ORDER BY b.started_at DESC LIMIT 1);
    directory := COALESCE(NULLIF(current_setting('agent_backup.directory', true), ''), 'agent_backup in the data directory');
    RETURN QUERY
    WITH scene AS (
        SELECT s.name, s.place FROM unnest('{record,table,database,disaster}'::text[]) WITH ORDINALITY AS s(name, place)
         WHERE s.name = wanted OR wanted IS NULL
    ), member AS (
        SELECT t.*, EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.relation AND i.indisprimary) AS has_key,
               EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = t.relation AND k.contype = 'f') AS has_references
          FROM agent_backup.recovery_state t
         WHERE t.set_name = of_set AND t.relation IS NOT NULL
    ), place AS (
        SELECT d.url, COALESCE(d.server_name, NULLIF(current_setting('agent_backup.offsite_server', true), '')) AS server_name
          FROM agent_backup.offsite_destinations d WHERE d.set_name = of_set
        UNION ALL
        SELECT u.url, NULLIF(current_setting('agent_backup.offsite_server', true), '')
          FROM (SELECT NULLIF(current_setting('agent_backup.offsite_url', true), '') AS url) AS u
         WHERE u.url IS NOT NULL AND NOT EXISTS (SELECT FROM agent_backup.offsite_destinations d WHERE d.set_name = of_set)
    ), lines(scenarios, step, place, command, note) AS (
        -- 1. Assess damage
        SELECT '{table,database,disaster}'::text[], 1, 1::bigint, format('SELECT * FROM agent_backup.assess(%L);', of_set), 'ok, changed, or lost rows: against the newest good backup'
        UNION ALL
        SELECT '{record}', 1, m.ordinal, format('SELECT change, key, backup_row FROM agent_backup.diff(%L, %L, %L) WHERE change = ''missing'';', m.display, m.backup_id, of_set),
               'records of ' || m.display || ' that the backup has and the table has not'
          FROM member m WHERE m.has_key AND m.backup_id IS NOT NULL
        UNION ALL
        SELECT '{table,database,disaster}', 1, 3, format('SELECT * FROM %I.%I;', n.nspname, c.relname), 'row counts of the application beside those it logged last'
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relname = 'v_data_quality_current' AND c.relkind IN ('v', 'm') AND n.nspname IN (SELECT m.schema_name FROM member m)
        UNION ALL
        SELECT '{database,disaster}', 1, 4, 'SELECT * FROM agent_backup.health WHERE severity <> ''OK'';', 'what is known to be wrong'
        -- 2. Identify recovery point
        UNION ALL
        SELECT '{database,disaster}', 2, 0, 'CREATE EXTENSION IF NOT EXISTS agent_backup;', 'on a new server: install it first, and give it the same agent_backup.directory'
        UNION ALL
        SELECT '{database,disaster}', 2, 1, format('SELECT * FROM agent_backup.reconcile(%L);', of_set),
               'lists the backups whose files are in ' || directory || CASE s.name WHEN 'disaster' THEN '; copy them there first from where your copies are' ELSE '' END
          FROM scene s WHERE s.name = 'database' OR (s.name = 'disaster' AND NOT EXISTS (SELECT FROM place))
        UNION ALL
        SELECT '{disaster}', 2, 1, format('SELECT * FROM agent_backup.import_offsite(%L%s);', p.url, ', server_name => ' || quote_literal(p.server_name)),
               'lists the backups in the store, of all servers, and restores read straight from there'
               || CASE WHEN p.server_name IS NOT NULL THEN format('; on a new server first: CREATE SERVER %I FOREIGN DATA WRAPPER agent_backup_s3, and a user mapping with its keys', p.server_name) ELSE '' END
          FROM place p
        UNION ALL
        SELECT '{record,table,database,disaster}', 2, 2,
               format('SELECT backup_id, status, started_at, tables, row_count, verification_status FROM agent_backup.backups WHERE set_name = %L ORDER BY started_at DESC LIMIT 10;', of_set),
               'the backups; take another id in the commands below where the newest is too young'
        UNION ALL
        SELECT '{table,database,disaster}', 2, 3, format('SELECT schema_name, table_name, format, row_count FROM agent_backup.backup_files WHERE backup_id = %L;', newest), 'what is in it'
         WHERE newest IS NOT NULL
        UNION ALL
        SELECT '{record,table}', 2, 4 + m.ordinal, format('SELECT * FROM agent_backup.recovery_points(%L);', m.display), 'the moments that ' || m.display || ' can be brought back to'
          FROM member m WHERE m.captured_since IS NOT NULL
        UNION ALL
        SELECT '{table,database,disaster}', 2, 1000, format('SELECT * FROM agent_backup.verify(%L, ''decode'', %L);', newest, of_set), 'whether it is whole'
         WHERE newest IS NOT NULL
        -- 3. Restore data
        UNION ALL
        SELECT '{record}', 3, m.ordinal, format('SELECT r.* FROM agent_backup.diff(%L, %L, %L) AS d, agent_backup.restore_record(%L, d.key, with_parents => true, set_name => %L) AS r WHERE d.change = ''missing'';',
                                        m.display, m.backup_id, of_set, m.display, of_set),
               'CHANGES DATA: puts every missing record back, with those it refers to; for one, add AND d.key = ''{"column": value}'''
          FROM member m WHERE m.has_key AND m.backup_id IS NOT NULL
        UNION ALL
        SELECT '{table}', 3, 0, format('SELECT * FROM agent_backup.restore_plan(%L, set_name => %L);', newest, of_set), 'the plan; changes nothing'
         WHERE newest IS NOT NULL
        UNION ALL
        SELECT '{table}', 3, m.ordinal, format('SELECT * FROM agent_backup.restore_table(%L, %L, set_name => %L, confirm => true);', m.display, m.backup_id, of_set),
               writes || CASE WHEN m.has_references THEN '; where it refers to rows that are gone too, restore(..., tables => ...) takes both' ELSE '' END
          FROM member m WHERE m.backup_id IS NOT NULL
        UNION ALL
        SELECT '{table}', 3, m.ordinal, format('SELECT * FROM agent_backup.restore_table_as_of(%L, %L, confirm => true);', m.display,
                                       date_trunc('second', GREATEST(m.now - interval '5 minutes', m.captured_since) + interval '1 second')),
               'CHANGES DATA; or so, to a moment before the damage: put it in'
          FROM member m WHERE m.captured_since IS NOT NULL
        UNION ALL
        SELECT '{database,disaster}', 3, 1, format('SELECT * FROM agent_backup.restore(%L, create_missing => true, set_name => %L);', newest, of_set), 'the plan; changes nothing'
         WHERE newest IS NOT NULL
        UNION ALL
        SELECT '{database,disaster}', 3, 2, format('SELECT * FROM agent_backup.restore(%L, create_missing => true, set_name => %L, confirm => true);', newest, of_set), writes
         WHERE newest IS NOT NULL
        UNION ALL
        SELECT '{record,table,database,disaster}', 3, m.ordinal, NULL, 'there is no good backup of ' || m.display FROM member m WHERE m.backup_id IS NULL
        -- 4. Verify recovery
        UNION ALL
        SELECT '{record,table,database,disaster}', 4, 1, format('SELECT * FROM agent_backup.assess(%L);', of_set), 'every table should say ok, or changed where the application has worked since'
        UNION ALL
        SELECT '{record,table,database,disaster}', 4, 2, format('SELECT * FROM %I.%I();', n.nspname, p.proname), 'the application''s own checks'
          FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
         WHERE p.proname = 'run_all_quality_checks' AND p.pronargs = 0 AND p.prokind = 'f' AND n.nspname IN (SELECT m.schema_name FROM member m)
        UNION ALL
        SELECT '{table,database,disaster}', 4, 3, 'SELECT table_name, row_count FROM @extschema@.backup_verification_log WHERE backup_date = (now() AT TIME ZONE ''UTC'')::date;',
               'rows that verification found in today''s backups'
        -- 5. Resume operations
        UNION ALL
        SELECT '{table,database,disaster}', 5, 1,
               format('SELECT m.schema_name, m.table_name, c.relrowsecurity AS enabled, (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies '
                      'FROM agent_backup.set_tables m JOIN pg_namespace n ON n.nspname = m.schema_name JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = m.table_name '
                      'WHERE m.set_name = %L AND (NOT c.relrowsecurity OR NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid));', of_set),
               'tables whose row-level security is off or has no policy: there should be none that had it'
        UNION ALL
        SELECT '{record,table,database,disaster}', 5, 2 + v.place,
               format('REFRESH MATERIALIZED VIEW %s%I.%I;', CASE WHEN v.can_wait THEN 'CONCURRENTLY ' ELSE '' END, v.nspname, v.relname),
               CASE WHEN v.can_wait THEN 'readers can go on meanwhile' ELSE 'readers wait meanwhile: it has no unique index for more, or is empty' END
          FROM (WITH RECURSIVE above(oid, depth) AS (
                    SELECT m.relation, 0 FROM member m
                    UNION
                    SELECT r.ev_class, a.depth + 1 FROM above a
                      JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.oid AND d.classid = 'pg_rewrite'::regclass
                      JOIN pg_rewrite r ON r.oid = d.objid
                     WHERE r.ev_class <> a.oid)
                SELECT n.nspname, c.relname, row_number() OVER (ORDER BY max(a.depth), c.relname) AS place,
                       c.relispopulated AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
                                                       AND i.indpred IS NULL AND i.indexprs IS NULL) AS can_wait
                  FROM above a JOIN pg_class c ON c.oid = a.oid AND c.relkind = 'm' JOIN pg_namespace n ON n.oid = c.relnamespace
                 GROUP BY c.oid, n.nspname, c.relname, c.relispopulated) AS v
        UNION ALL
        SELECT '{record,table,database,disaster}', 5, 1000, format('SELECT * FROM agent_backup.backup(%L);', of_set), 'a backup of what is there now'
    )
    SELECT s.name, l.step, titles[l.step], l.command, l.note
      FROM scene s JOIN lines l ON s.name = ANY (l.scenarios)
     ORDER BY s.place, l.step, l.place, l.command;
END
$fn$;
