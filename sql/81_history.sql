-- Functions over the log of changes whose rows go to a tuplestore; pgrx declares no such thing.
CREATE FUNCTION agent_backup.read_as_of(row_type anyelement, as_of timestamptz DEFAULT NULL, mark text DEFAULT NULL)
RETURNS SETOF anyelement
LANGUAGE c AS 'MODULE_PATHNAME', 'agent_backup_read_as_of';
COMMENT ON FUNCTION agent_backup.read_as_of IS 'Gives the rows of a tracked table as they were at a moment: SELECT * FROM agent_backup.read_as_of(NULL::mytable, now() - interval ''5 minutes'')';
