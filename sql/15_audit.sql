-- Who did what: a row for each act, each with the hash of the one before. Only the extension adds rows, and nobody changes
-- or removes any; verify_audit_log() finds it where somebody did.
CREATE TABLE agent_backup.audit_log (
    entry_id          bigint PRIMARY KEY CHECK (entry_id > 0),
    happened_at       timestamptz NOT NULL,
    action            text NOT NULL CHECK (action <> ''),
    object            text,
    set_name          text,
    status            text NOT NULL CHECK (status IN ('ok', 'failed', 'denied')),
    session_user_name text NOT NULL,
    current_user_name text NOT NULL,
    client_addr       inet,
    application_name  text,
    backend_pid       integer NOT NULL,
    transaction       xid8,
    details           jsonb NOT NULL CHECK (pg_catalog.jsonb_typeof(details) = 'object'),
    error_code        text CHECK (error_code ~ '^[0-9A-Z]{5}$'),
    error_message     text,
    previous_hash     text CHECK (previous_hash ~ '^[0-9a-f]{64}$'),
    entry_hash        text NOT NULL CHECK (entry_hash ~ '^[0-9a-f]{64}$'),
    CHECK ((entry_id = 1) = (previous_hash IS NULL)),
    CHECK ((status = 'ok') = (error_message IS NULL))
);
CREATE INDEX audit_log_happened_at ON agent_backup.audit_log (happened_at);
COMMENT ON TABLE agent_backup.audit_log IS 'Every act, one row each, failures and denials included; each has the hash of the one before. Nobody can change it; verify_audit_log() proves it';
COMMENT ON COLUMN agent_backup.audit_log.entry_id IS 'Place in the chain: 1, 2, 3 without a gap';
COMMENT ON COLUMN agent_backup.audit_log.happened_at IS 'When the act ended';
COMMENT ON COLUMN agent_backup.audit_log.action IS 'What was done: the name of the function';
COMMENT ON COLUMN agent_backup.audit_log.object IS 'To what: a table, backup, mark, job or file, as it was named';
COMMENT ON COLUMN agent_backup.audit_log.set_name IS 'Of which set';
COMMENT ON COLUMN agent_backup.audit_log.status IS 'ok, failed (with what was rolled back), or denied for the want of a right';
COMMENT ON COLUMN agent_backup.audit_log.session_user_name IS 'Role that the session began with';
COMMENT ON COLUMN agent_backup.audit_log.current_user_name IS 'Role whose rights counted';
COMMENT ON COLUMN agent_backup.audit_log.client_addr IS 'Where the session came from; null for this machine';
COMMENT ON COLUMN agent_backup.audit_log.application_name IS 'What the client calls itself; it can call itself anything';
COMMENT ON COLUMN agent_backup.audit_log.backend_pid IS 'Process of the session, as in the server''s log';
COMMENT ON COLUMN agent_backup.audit_log.transaction IS 'The transaction, if it wrote anything until then';
COMMENT ON COLUMN agent_backup.audit_log.details IS 'Options and counts: names and numbers, never data of rows';
COMMENT ON COLUMN agent_backup.audit_log.error_code IS 'SQLSTATE of the failure; 40000 for what was rolled back';
COMMENT ON COLUMN agent_backup.audit_log.error_message IS 'Why it failed; null where it did not';
COMMENT ON COLUMN agent_backup.audit_log.previous_hash IS 'entry_hash of the entry before; null for the first';
COMMENT ON COLUMN agent_backup.audit_log.entry_hash IS 'SHA-256, in hex, of previous_hash and all the columns before it';

-- Where the chain ends. A dump of the database has no row of it: until the first act the log may be loaded.
CREATE TABLE agent_backup.audit_chain (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    last_entry bigint NOT NULL CHECK (last_entry >= 0),
    head       text CHECK (head ~ '^[0-9a-f]{64}$'),
    CHECK ((last_entry = 0) = (head IS NULL))
);
COMMENT ON TABLE agent_backup.audit_chain IS 'The newest entry of audit_log';
COMMENT ON COLUMN agent_backup.audit_chain.one IS 'There is one row at most';
COMMENT ON COLUMN agent_backup.audit_chain.last_entry IS 'Its entry_id';
COMMENT ON COLUMN agent_backup.audit_chain.head IS 'Its entry_hash';

CREATE TABLE agent_backup.audit_checks (
    check_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    checked_at  timestamptz NOT NULL,
    checked_by  text NOT NULL,
    status      text NOT NULL CHECK (status IN ('ok', 'failed')),
    last_entry  bigint NOT NULL CHECK (last_entry >= 0),
    head        text CHECK (head ~ '^[0-9a-f]{64}$'),
    entries     bigint NOT NULL CHECK (entries >= 0),
    problems    text[] NOT NULL CHECK (pg_catalog.array_position(problems, NULL) IS NULL),
    CHECK ((status = 'ok') = (pg_catalog.cardinality(problems) = 0))
);
CREATE INDEX audit_checks_checked_at ON agent_backup.audit_checks (checked_at DESC);
COMMENT ON TABLE agent_backup.audit_checks IS 'Verifications of audit_log, one row each; what they found is held against the log by later ones';
COMMENT ON COLUMN agent_backup.audit_checks.check_id IS 'Number of the verification';
COMMENT ON COLUMN agent_backup.audit_checks.checked_at IS 'When';
COMMENT ON COLUMN agent_backup.audit_checks.checked_by IS 'Role of the session';
COMMENT ON COLUMN agent_backup.audit_checks.status IS 'ok or failed';
COMMENT ON COLUMN agent_backup.audit_checks.last_entry IS 'The newest entry then; 0 in an empty log';
COMMENT ON COLUMN agent_backup.audit_checks.head IS 'Its hash';
COMMENT ON COLUMN agent_backup.audit_checks.entries IS 'How many there were';
COMMENT ON COLUMN agent_backup.audit_checks.problems IS 'What was wrong';

CREATE FUNCTION agent_backup.guard_audit() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'agent_backup_guard_audit';
COMMENT ON FUNCTION agent_backup.guard_audit() IS 'Refuses whatever would change the log of acts, but for the extension itself, and for a dump that is loaded before the first act';
DO $do$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY '{audit_log,audit_chain,audit_checks}'::text[] LOOP
        EXECUTE pg_catalog.format('CREATE TRIGGER guard_audit BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON agent_backup.%I
            FOR EACH STATEMENT EXECUTE FUNCTION agent_backup.guard_audit()', guarded);
        -- For replication and pg_restore --disable-triggers, too.
        EXECUTE pg_catalog.format('ALTER TABLE agent_backup.%I ENABLE ALWAYS TRIGGER guard_audit', guarded);
        EXECUTE pg_catalog.format('COMMENT ON TRIGGER guard_audit ON agent_backup.%I IS %L', guarded, 'Refuses changes');
    END LOOP;
END
$do$;

SELECT pg_catalog.pg_extension_config_dump('agent_backup.audit_log', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.audit_checks', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.audit_checks_check_id_seq', '');
