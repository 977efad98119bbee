-- Copies of backups in other places: where they go, what is there, and how a store is reached. Secrets are in user mappings
-- of a foreign server, or with the server's process; none is in a table here.
CREATE FOREIGN DATA WRAPPER agent_backup_s3 NO HANDLER VALIDATOR agent_backup.s3_validator;
COMMENT ON FOREIGN DATA WRAPPER agent_backup_s3 IS 'Servers of it are S3 stores for copies of backups: endpoint, region, path_style, ca_bundle, allow_http; user mappings have access_key_id, secret_access_key, session_token';

CREATE TABLE agent_backup.offsite_destinations (
    set_name     text NOT NULL REFERENCES agent_backup.sets ON DELETE CASCADE ON UPDATE CASCADE,
    url          text NOT NULL CHECK (url ~ '^(s3://|file:///)'),
    server_name  text CHECK (server_name <> ''),
    keep_daily   integer NOT NULL CHECK (keep_daily >= 0),
    keep_weekly  integer NOT NULL CHECK (keep_weekly >= 0),
    keep_monthly integer NOT NULL CHECK (keep_monthly >= 0),
    keep_last    integer NOT NULL CHECK (keep_last >= 0),
    max_age      interval CHECK (max_age >= '1 day'),
    created_at   timestamptz NOT NULL DEFAULT now(),
    created_by   text NOT NULL DEFAULT session_user,
    PRIMARY KEY (set_name, url),
    CHECK (keep_daily + keep_weekly + keep_monthly + keep_last > 0)
);
COMMENT ON TABLE agent_backup.offsite_destinations IS 'Where copies of the backups of a set go. Change with add_destination and remove_destination';
COMMENT ON COLUMN agent_backup.offsite_destinations.set_name IS 'The set';
COMMENT ON COLUMN agent_backup.offsite_destinations.url IS 'The place: s3://bucket/prefix or file:///directory; holds no credentials';
COMMENT ON COLUMN agent_backup.offsite_destinations.server_name IS 'Foreign server of agent_backup_s3 that says how it is reached; null: agent_backup.offsite_server, else the environment of the server';
COMMENT ON COLUMN agent_backup.offsite_destinations.keep_daily IS 'Daily copies to keep there';
COMMENT ON COLUMN agent_backup.offsite_destinations.keep_weekly IS 'Weekly copies to keep there';
COMMENT ON COLUMN agent_backup.offsite_destinations.keep_monthly IS 'Monthly copies to keep there';
COMMENT ON COLUMN agent_backup.offsite_destinations.keep_last IS 'Newest copies to keep there, however many a day';
COMMENT ON COLUMN agent_backup.offsite_destinations.max_age IS 'No copy is kept there longer, but the newest good one; null for no limit';
COMMENT ON COLUMN agent_backup.offsite_destinations.created_at IS 'When it was added';
COMMENT ON COLUMN agent_backup.offsite_destinations.created_by IS 'Who added it';

CREATE TABLE agent_backup.offsite_catalog (
    destination         text NOT NULL CHECK (destination <> ''),
    backup_id           text NOT NULL CHECK (backup_id <> ''),
    set_name            text NOT NULL,
    kind                text NOT NULL CHECK (kind IN ('full', 'archive', 'safety')),
    started_at          timestamptz NOT NULL,
    system_identifier   text NOT NULL,
    database_name       text NOT NULL,
    object_key          text NOT NULL CHECK (object_key <> ''),
    manifest_key        text NOT NULL CHECK (manifest_key <> ''),
    size_bytes          bigint CHECK (size_bytes >= 0),
    file_sha256         text CHECK (file_sha256 ~ '^[0-9a-f]{64}$'),
    manifest_sha256     text NOT NULL CHECK (manifest_sha256 ~ '^[0-9a-f]{64}$'),
    status              text NOT NULL CHECK (status IN ('complete', 'missing', 'failed', 'retained')),
    uploaded_at         timestamptz,
    verified_at         timestamptz,
    verification_status text CHECK (verification_status IN ('success', 'failed')),
    verification_level  text CHECK (verification_level IN ('exists', 'size', 'checksum', 'sample', 'read')),
    error_message       text,
    PRIMARY KEY (destination, backup_id),
    CHECK (status <> 'complete' OR (uploaded_at IS NOT NULL AND size_bytes IS NOT NULL)),
    CHECK (status NOT IN ('failed', 'missing') OR error_message IS NOT NULL),
    CHECK ((verified_at IS NULL) = (verification_status IS NULL)),
    CHECK ((verified_at IS NULL) = (verification_level IS NULL))
);
CREATE INDEX offsite_catalog_set_started ON agent_backup.offsite_catalog (set_name, started_at DESC);
COMMENT ON TABLE agent_backup.offsite_catalog IS 'Copies of backups in other places, one row each; read it through the view offsite_copies';
COMMENT ON COLUMN agent_backup.offsite_catalog.destination IS 'The place, as in offsite_destinations';
COMMENT ON COLUMN agent_backup.offsite_catalog.backup_id IS 'The backup; it may be gone here';
COMMENT ON COLUMN agent_backup.offsite_catalog.set_name IS 'Its set';
COMMENT ON COLUMN agent_backup.offsite_catalog.kind IS 'full, archive or safety';
COMMENT ON COLUMN agent_backup.offsite_catalog.started_at IS 'When the backup began';
COMMENT ON COLUMN agent_backup.offsite_catalog.system_identifier IS 'Cluster that made it';
COMMENT ON COLUMN agent_backup.offsite_catalog.database_name IS 'Database that made it';
COMMENT ON COLUMN agent_backup.offsite_catalog.object_key IS 'Key of the container below the destination';
COMMENT ON COLUMN agent_backup.offsite_catalog.manifest_key IS 'Key of the manifest below the destination';
COMMENT ON COLUMN agent_backup.offsite_catalog.size_bytes IS 'Bytes of the container there; null of one that never arrived';
COMMENT ON COLUMN agent_backup.offsite_catalog.file_sha256 IS 'SHA-256 that the container must have';
COMMENT ON COLUMN agent_backup.offsite_catalog.manifest_sha256 IS 'SHA-256 that the manifest must have';
COMMENT ON COLUMN agent_backup.offsite_catalog.status IS 'complete; missing: it is not there any more; failed: it could not be sent; retained: a lock of the store keeps what should go';
COMMENT ON COLUMN agent_backup.offsite_catalog.uploaded_at IS 'When it was complete there, or was found to be; null for never';
COMMENT ON COLUMN agent_backup.offsite_catalog.verified_at IS 'When it was last looked at there; null for never';
COMMENT ON COLUMN agent_backup.offsite_catalog.verification_status IS 'Verdict of that: success or failed';
COMMENT ON COLUMN agent_backup.offsite_catalog.verification_level IS 'How much that proved: exists, size, checksum, sample or read';
COMMENT ON COLUMN agent_backup.offsite_catalog.error_message IS 'What is wrong with it; null for nothing';

CREATE TABLE agent_backup.offsite_imports (
    url         text PRIMARY KEY CHECK (url ~ '^(s3://|file:///)'),
    server_name text CHECK (server_name <> ''),
    imported_at timestamptz NOT NULL DEFAULT now(),
    imported_by text NOT NULL DEFAULT session_user
);
COMMENT ON TABLE agent_backup.offsite_imports IS 'Stores whose backups import_offsite listed here, and how each is reached';
COMMENT ON COLUMN agent_backup.offsite_imports.url IS 'The place: s3://bucket/prefix or file:///directory';
COMMENT ON COLUMN agent_backup.offsite_imports.server_name IS 'Foreign server of agent_backup_s3 that says how it is reached; null: agent_backup.offsite_server, else the environment of the server';
COMMENT ON COLUMN agent_backup.offsite_imports.imported_at IS 'When that was last done';
COMMENT ON COLUMN agent_backup.offsite_imports.imported_by IS 'By whom';

CREATE VIEW agent_backup.offsite_copies AS
SELECT set_name, backup_id, destination, status, uploaded_at, size_bytes, object_key, verified_at, verification_status, verification_level,
       error_message, started_at, kind
  FROM agent_backup.offsite_catalog;
COMMENT ON VIEW agent_backup.offsite_copies IS 'Copies of backups in other places, one row per backup and destination';
COMMENT ON COLUMN agent_backup.offsite_copies.set_name IS 'The set';
COMMENT ON COLUMN agent_backup.offsite_copies.backup_id IS 'The backup; it may be gone here';
COMMENT ON COLUMN agent_backup.offsite_copies.destination IS 'The place: s3://bucket/prefix or file:///directory';
COMMENT ON COLUMN agent_backup.offsite_copies.status IS 'complete; missing: it is not there any more; failed: it could not be sent; retained: a lock of the store keeps what should go';
COMMENT ON COLUMN agent_backup.offsite_copies.uploaded_at IS 'When it was complete there, or was found to be; null for never';
COMMENT ON COLUMN agent_backup.offsite_copies.size_bytes IS 'Bytes of the container there';
COMMENT ON COLUMN agent_backup.offsite_copies.object_key IS 'Key of the container below the destination';
COMMENT ON COLUMN agent_backup.offsite_copies.verified_at IS 'When it was last looked at there; null for never';
COMMENT ON COLUMN agent_backup.offsite_copies.verification_status IS 'Verdict of that: success or failed';
COMMENT ON COLUMN agent_backup.offsite_copies.verification_level IS 'How much that proved: exists, size, checksum, sample or read';
COMMENT ON COLUMN agent_backup.offsite_copies.error_message IS 'What is wrong with it; null for nothing';
COMMENT ON COLUMN agent_backup.offsite_copies.started_at IS 'When the backup began';
COMMENT ON COLUMN agent_backup.offsite_copies.kind IS 'full, archive or safety';

GRANT SELECT ON agent_backup.offsite_destinations, agent_backup.offsite_copies, agent_backup.offsite_imports TO agent_backup_operator;

SELECT pg_catalog.pg_extension_config_dump('agent_backup.offsite_destinations', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.offsite_catalog', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.offsite_imports', '');
