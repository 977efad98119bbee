-- Functions whose rows go to a tuplestore; pgrx declares no such thing.
CREATE FUNCTION agent_backup.read_backup(
    row_type anyelement, backup text DEFAULT 'latest', table_name text DEFAULT NULL, set_name text DEFAULT 'agent_sdk')
RETURNS SETOF anyelement
LANGUAGE c AS 'MODULE_PATHNAME', 'agent_backup_read_backup';
COMMENT ON FUNCTION agent_backup.read_backup IS 'Gives the rows of a table in a backup as rows of a type: SELECT * FROM agent_backup.read_backup(NULL::mytable)';

CREATE FUNCTION agent_backup.diff(table_name text, backup text DEFAULT 'latest', set_name text DEFAULT 'agent_sdk')
RETURNS TABLE (change text, key jsonb, columns text[], backup_row jsonb, live_row jsonb)
LANGUAGE c AS 'MODULE_PATHNAME', 'agent_backup_diff';
COMMENT ON FUNCTION agent_backup.diff(text, text, text) IS 'Shows row by row what a live table and a backup of it differ in: missing, extra and changed rows';

-- The same for tables named by regclass. A plain literal still chooses the form with text.
CREATE FUNCTION agent_backup.diff(relation regclass, backup text DEFAULT 'latest', set_name text DEFAULT 'agent_sdk')
RETURNS TABLE (change text, key jsonb, columns text[], backup_row jsonb, live_row jsonb)
LANGUAGE sql AS $fn$ SELECT * FROM agent_backup.diff($1::text, $2, $3) $fn$;

CREATE FUNCTION @extschema@.verify_backup(backup_table regclass, original_table regclass, set_name text DEFAULT 'agent_sdk')
RETURNS TABLE (verification_status text, row_count_match boolean, checksum_match boolean, details jsonb)
LANGUAGE sql AS $fn$ SELECT * FROM @extschema@.verify_backup($1::text, $2::text, $3) $fn$;

CREATE FUNCTION @extschema@.verify_backup(backup_table text, original_table regclass, set_name text DEFAULT 'agent_sdk')
RETURNS TABLE (verification_status text, row_count_match boolean, checksum_match boolean, details jsonb)
LANGUAGE sql AS $fn$ SELECT * FROM @extschema@.verify_backup($1, $2::text, $3) $fn$;

COMMENT ON FUNCTION agent_backup.diff(regclass, text, text) IS 'As diff with the table''s name, for a regclass';
COMMENT ON FUNCTION @extschema@.verify_backup(text, text, text) IS 'Says whether a copy of a table, or a backup of it, holds the same rows: VERIFIED or MISMATCH, with what differs';
COMMENT ON FUNCTION @extschema@.verify_backup(regclass, regclass, text) IS 'As verify_backup with the tables'' names, for regclass';
COMMENT ON FUNCTION @extschema@.verify_backup(text, regclass, text) IS 'As verify_backup with the table''s name, for a regclass';
COMMENT ON FUNCTION agent_backup.assess IS 'Compares every table of a set with the newest backup that holds it and is whole';
