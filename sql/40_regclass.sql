-- The same functions for a table named by regclass itself. A plain literal still chooses the form with text.
CREATE FUNCTION agent_backup.export_table(relation regclass, format text DEFAULT 'csv', destination text DEFAULT NULL)
RETURNS TABLE (table_name text, row_count bigint, size_bytes bigint, checksum text, export_file text, duration interval)
LANGUAGE sql AS $fn$ SELECT * FROM agent_backup.export_table($1::text, $2, $3) $fn$;

CREATE FUNCTION agent_backup.add_table(
    set_name text, relation regclass, formats text[] DEFAULT NULL, row_filter text DEFAULT NULL,
    excluded_columns text[] DEFAULT '{}', masked_columns jsonb DEFAULT '{}', subject_columns text[] DEFAULT '{}')
RETURNS text
LANGUAGE sql AS $fn$ SELECT agent_backup.add_table($1, $2::text, $3, $4, $5, $6, $7) $fn$;

CREATE FUNCTION agent_backup.remove_table(set_name text, relation regclass)
RETURNS text
LANGUAGE sql AS $fn$ SELECT agent_backup.remove_table($1, $2::text) $fn$;

CREATE FUNCTION @extschema@.backup_agent_table_to_json(relation regclass, p_backup_dir text DEFAULT NULL)
RETURNS TABLE (table_name text, row_count bigint, backup_file text, backup_size text)
LANGUAGE sql AS $fn$ SELECT * FROM @extschema@.backup_agent_table_to_json($1::text, $2) $fn$;
