-- A job is a procedure, so that its failure is in the log before it is raised: begin, commit, work, write down, commit,
-- raise. It has no SET clause, since such a procedure cannot commit; every name in it is qualified, and there is no operator.
CREATE PROCEDURE agent_backup.run_job(job text, set_name text DEFAULT 'agent_sdk')
LANGUAGE plpgsql AS $fn$
DECLARE
    run         record;
    step        record;
    told        text[] := '{}';
    failure     text;
    code        text := 'P0001';
    detail_text text := '';
    hint_text   text := '';
BEGIN
    SELECT b.run_id, b.refused, b.code, b.hint INTO run FROM agent_backup.begin_job(run_job.job, run_job.set_name) AS b;
    COMMIT;
    IF run.refused IS NOT NULL THEN
        RAISE EXCEPTION USING MESSAGE = run.refused, ERRCODE = run.code, HINT = run.hint;
    END IF;
    LOOP
        BEGIN
            SELECT s.summary, s.failure, s.is_last INTO step FROM agent_backup.do_job(run.run_id, pg_catalog.cardinality(told)) AS s;
            told := pg_catalog.array_append(told, step.summary);
            failure := step.failure;
        EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
            GET STACKED DIAGNOSTICS failure = MESSAGE_TEXT, code = RETURNED_SQLSTATE,
                detail_text = PG_EXCEPTION_DETAIL, hint_text = PG_EXCEPTION_HINT;
        END;
        EXIT WHEN failure IS NOT NULL;
        EXIT WHEN step.is_last;
        COMMIT;
    END LOOP;
    PERFORM agent_backup.end_job(run.run_id, pg_catalog.array_to_string(told, '; '), failure, code);
    COMMIT;
    IF failure IS NULL THEN
        RAISE NOTICE '%', pg_catalog.array_to_string(told, '; ');
        RETURN;
    END IF;
    IF pg_catalog.length(detail_text) OPERATOR(pg_catalog.=) 0 THEN
        detail_text := pg_catalog.format('It was run %s of job "%s" of backup set "%s".', run.run_id, run_job.job, run_job.set_name);
    END IF;
    IF pg_catalog.length(hint_text) OPERATOR(pg_catalog.=) 0 THEN
        hint_text := 'agent_backup.job_runs has all runs.';
    END IF;
    RAISE EXCEPTION USING MESSAGE = failure, ERRCODE = code, DETAIL = detail_text, HINT = hint_text;
END
$fn$;
COMMENT ON PROCEDURE agent_backup.run_job IS 'Runs a job of a set: daily (full backup), hourly (incremental), verify, weekly (archive), monthly (drill), prune or offsite (copies elsewhere). A failure is committed to job_runs, told to who listens on the channel agent_backup, and raised';
