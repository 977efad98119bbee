-- DROP EXTENSION without CASCADE is refused while there is something to lose; what that is, the error says.
CREATE FUNCTION agent_backup.watch_drop() RETURNS event_trigger LANGUAGE c AS 'MODULE_PATHNAME', 'agent_backup_watch_drop';
COMMENT ON FUNCTION agent_backup.watch_drop() IS 'Refuses DROP EXTENSION agent_backup without CASCADE while there are backups, sets, logs or archived rows';
CREATE EVENT TRIGGER agent_backup_watch_drop ON ddl_command_start WHEN TAG IN ('DROP EXTENSION')
    EXECUTE FUNCTION agent_backup.watch_drop();
ALTER EVENT TRIGGER agent_backup_watch_drop ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER agent_backup_watch_drop IS 'Keeps backups, sets and logs from going with DROP EXTENSION unasked';
