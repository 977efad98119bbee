-- What runs by itself: the jobs that were scheduled, and each of their runs.
CREATE TABLE agent_backup.scheduled_jobs (
    set_name     text NOT NULL REFERENCES agent_backup.sets ON UPDATE CASCADE ON DELETE CASCADE,
    job          text NOT NULL CHECK (job IN ('daily', 'hourly', 'verify', 'weekly', 'monthly', 'prune', 'offsite')),
    schedule     text NOT NULL CHECK (schedule <> ''),
    time_zone    text NOT NULL,
    cron_job     text NOT NULL CHECK (cron_job <> ''),
    scheduled_at timestamptz NOT NULL,
    scheduled_by text NOT NULL,
    told_due     timestamptz,
    PRIMARY KEY (set_name, job)
);
COMMENT ON TABLE agent_backup.scheduled_jobs IS 'Jobs that schedule() gave to pg_cron; read them through the view schedules';
COMMENT ON COLUMN agent_backup.scheduled_jobs.set_name IS 'The set';
COMMENT ON COLUMN agent_backup.scheduled_jobs.job IS 'daily (full backup), hourly (incremental), verify, weekly (archive), monthly (drill), prune or offsite';
COMMENT ON COLUMN agent_backup.scheduled_jobs.schedule IS 'When, as crontab(5) has it';
COMMENT ON COLUMN agent_backup.scheduled_jobs.time_zone IS 'Time zone of that: pg_cron''s, not the session''s';
COMMENT ON COLUMN agent_backup.scheduled_jobs.cron_job IS 'What pg_cron calls it';
COMMENT ON COLUMN agent_backup.scheduled_jobs.scheduled_at IS 'When it was scheduled so';
COMMENT ON COLUMN agent_backup.scheduled_jobs.scheduled_by IS 'Role that it runs as';
COMMENT ON COLUMN agent_backup.scheduled_jobs.told_due IS 'The moment that it should have run at, and did not, that listeners were last told of';

CREATE TABLE agent_backup.job_runs (
    run_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    set_name      text NOT NULL,
    job           text NOT NULL CHECK (job IN ('daily', 'hourly', 'verify', 'weekly', 'monthly', 'prune', 'offsite')),
    status        text NOT NULL CHECK (status IN ('running', 'success', 'failed')),
    started_at    timestamptz NOT NULL,
    finished_at   timestamptz,
    summary       text,
    error_message text,
    error_code    text CHECK (error_code ~ '^[0-9A-Z]{5}$'),
    pid           integer NOT NULL,
    run_by        text NOT NULL,
    session_start timestamptz,
    CHECK (finished_at >= started_at),
    CHECK ((status = 'running') = (finished_at IS NULL)),
    CHECK ((status = 'failed') = (error_message IS NOT NULL))
);
CREATE INDEX job_runs_set_job ON agent_backup.job_runs (set_name, job, started_at DESC);
COMMENT ON TABLE agent_backup.job_runs IS 'Runs of jobs, one row each, failures included';
COMMENT ON COLUMN agent_backup.job_runs.run_id IS 'Number of the run';
COMMENT ON COLUMN agent_backup.job_runs.set_name IS 'The set';
COMMENT ON COLUMN agent_backup.job_runs.job IS 'daily, hourly, verify, weekly, monthly, prune or offsite';
COMMENT ON COLUMN agent_backup.job_runs.status IS 'running, success or failed; a run whose session died is failed as soon as the next one looks';
COMMENT ON COLUMN agent_backup.job_runs.started_at IS 'When it began';
COMMENT ON COLUMN agent_backup.job_runs.finished_at IS 'When it ended';
COMMENT ON COLUMN agent_backup.job_runs.summary IS 'What it did, in words';
COMMENT ON COLUMN agent_backup.job_runs.error_message IS 'Why it failed';
COMMENT ON COLUMN agent_backup.job_runs.error_code IS 'SQLSTATE of that; null where parts of the work failed';
COMMENT ON COLUMN agent_backup.job_runs.pid IS 'Process of the session';
COMMENT ON COLUMN agent_backup.job_runs.run_by IS 'Role that it ran as';
COMMENT ON COLUMN agent_backup.job_runs.session_start IS 'When the session began: another one may get the same process number';

-- Whoever calls it, a job, a person or an application's own schedule.
CREATE TABLE agent_backup.incremental_runs (
    run_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    set_name    text NOT NULL,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    tables      integer NOT NULL CHECK (tables >= 0),
    failed      integer NOT NULL CHECK (failed >= 0),
    row_count   bigint NOT NULL CHECK (row_count >= 0),
    CHECK (finished_at >= started_at)
);
CREATE INDEX incremental_runs_set_started ON agent_backup.incremental_runs (set_name, started_at DESC);
COMMENT ON TABLE agent_backup.incremental_runs IS 'Incremental backups that were made, one row each';
COMMENT ON COLUMN agent_backup.incremental_runs.run_id IS 'Number of the run';
COMMENT ON COLUMN agent_backup.incremental_runs.set_name IS 'The set';
COMMENT ON COLUMN agent_backup.incremental_runs.started_at IS 'The moment up to which it copied changes';
COMMENT ON COLUMN agent_backup.incremental_runs.finished_at IS 'When it ended';
COMMENT ON COLUMN agent_backup.incremental_runs.tables IS 'Tables that were copied';
COMMENT ON COLUMN agent_backup.incremental_runs.failed IS 'Tables that could not be';
COMMENT ON COLUMN agent_backup.incremental_runs.row_count IS 'Changed rows, with tombstones';

SELECT pg_catalog.pg_extension_config_dump('agent_backup.job_runs', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.job_runs_run_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.incremental_runs', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.incremental_runs_run_id_seq', '');
