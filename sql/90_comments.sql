-- What each function says of itself in psql (\df+).
COMMENT ON FUNCTION agent_backup.create_set IS 'Makes an empty backup set. Options: formats (csv, json, sql), compression (gzip, zstd) with level, numbers to keep, RTO and RPO';
COMMENT ON FUNCTION agent_backup.drop_set IS 'Forgets a backup set; its backups stay. A set that has backups asks for confirm => true';
COMMENT ON FUNCTION agent_backup.add_table(text, text, text[], text, text[], jsonb) IS 'Adds a table to a backup set: formats, row filter, excluded and masked columns. Returns its qualified name';
COMMENT ON FUNCTION agent_backup.remove_table(text, text) IS 'Takes a table out of a backup set; backups of it stay. Returns its qualified name';
COMMENT ON FUNCTION agent_backup.backup IS 'Backs up a set of tables into one file, all from one snapshot. One row per member with status ok, failed or absent';
COMMENT ON FUNCTION agent_backup.export_table(text, text, text) IS 'Writes one table into one file on the server: csv, json or sql, plain or .gz or .zst by the ending of destination';
COMMENT ON FUNCTION agent_backup.reconcile IS 'Brings the catalogue in line with the files on disk; rebuilds it on an empty server';
COMMENT ON FUNCTION agent_backup.verify IS 'Proves a backup at a level: exists, hash or decode. One row per table, format and finding, and what it does not prove. A damaged backup is rows that say failed and no error, so that the log keeps them';
COMMENT ON FUNCTION @extschema@.verify_daily_backups IS 'Whether every table of a set has a good backup of today (UTC), and logs it. A table without one is a row that says failed and no error, so that the log keeps it';
COMMENT ON FUNCTION agent_backup.lock_key IS 'Second key of the advisory lock that a backup of the set holds, as objid of pg_locks';
COMMENT ON FUNCTION @extschema@.backup_agent_table_to_json(text, text) IS 'Writes one table as <table>_<YYYYMMDD_HH24MISS>.json, a JSON array with a row a line';
COMMENT ON FUNCTION agent_backup.add_table(text, regclass, text[], text, text[], jsonb) IS 'As add_table with the table''s name, for a regclass';
COMMENT ON FUNCTION agent_backup.remove_table(text, regclass) IS 'As remove_table with the table''s name, for a regclass';
COMMENT ON FUNCTION agent_backup.export_table(regclass, text, text) IS 'As export_table with the table''s name, for a regclass';
COMMENT ON FUNCTION @extschema@.backup_agent_table_to_json(regclass, text) IS 'As backup_agent_table_to_json with the table''s name, for a regclass';
