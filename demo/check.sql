-- Checks the demo application and raises on the first violation. Leaves the data as it was.
--
--   psql -d mydb -f demo/check.sql       (as a superuser or a member of the three demo roles)
\set ON_ERROR_STOP on
SET client_encoding = 'UTF8';
SET client_min_messages = warning;

BEGIN;
SET LOCAL ROLE demo_owner;
SET LOCAL search_path = public;

CREATE FUNCTION pg_temp.expect(claim text, holds boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF holds IS NOT TRUE THEN
        RAISE EXCEPTION 'demo check: not so: %', claim;
    END IF;
END
$$;

-- Does the act, runs the quality checks, undoes the act; true if that check of that table fails meanwhile.
CREATE FUNCTION pg_temp.notices(act text, of_check text, of_table text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    verdict text;
BEGIN
    BEGIN
        EXECUTE act;
        SELECT status INTO verdict FROM run_all_quality_checks() WHERE check_name = of_check AND table_name = of_table;
        RAISE EXCEPTION USING ERRCODE = 'DM001', MESSAGE = 'undo';
    EXCEPTION WHEN SQLSTATE 'DM001' THEN
        RETURN verdict = 'fail';
    END;
END
$$;

-- The same for an act that must be refused with this SQLSTATE.
CREATE FUNCTION pg_temp.refuses(act text, state text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    got text;
BEGIN
    BEGIN
        EXECUTE act;
        RAISE EXCEPTION USING ERRCODE = 'DM001', MESSAGE = 'undo';
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS got = RETURNED_SQLSTATE;
    END;
    RETURN got = state;
END
$$;

-- Shape
SELECT pg_temp.expect('the eight tables belong to demo_owner, have row security on and a policy', count(*) = 8)
FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relrowsecurity
  AND c.relowner = 'demo_owner'::regrole AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)
  AND c.relname IN ('agent_approvals', 'AgentApproval', 'AgentFeedback', 'AgentQuery', 'agent_sdk_learning_data',
                    'agent_sdk_notifications', 'agent_training_archive', 'data_quality_log');
SELECT pg_temp.expect('the roles are not superusers and obey row security', count(*) = 3)
FROM pg_roles
WHERE rolname IN ('demo_owner', 'demo_app', 'demo_auditor') AND NOT rolsuper AND NOT rolbypassrls;
SELECT pg_temp.expect('seven foreign keys, all validated', count(*) = 7 AND bool_and(convalidated))
FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace
  AND conrelid IN (SELECT oid FROM pg_class WHERE relowner = 'demo_owner'::regrole);

-- Data
SELECT pg_temp.expect('there are at least 1000 approvals to check with', count(*) >= 1000) FROM agent_approvals;
SELECT pg_temp.expect('quality check passes on clean data: ' || check_name || ' of ' || table_name, status = 'pass')
FROM run_all_quality_checks();
SELECT pg_temp.expect('every table has quality checks', count(DISTINCT table_name) = 8) FROM run_all_quality_checks();
SELECT pg_temp.expect('row count of ' || table_name || ' equals the logged one', row_count = logged_row_count)
FROM v_data_quality_current WHERE table_name <> 'data_quality_log';
SELECT pg_temp.expect('text has emoji', bool_or(customer_message ~ '[😀-🙏]')),
       pg_temp.expect('text has Chinese', bool_or(customer_message ~ '[一-龥]')),
       pg_temp.expect('text has Arabic and Hebrew', bool_or(customer_message ~ '[ء-ي]') AND bool_or(customer_message ~ '[א-ת]')),
       pg_temp.expect('text has a combining mark', bool_or(customer_message LIKE U&'%e\0301%')),
       pg_temp.expect('text has quotes of both kinds', bool_or(customer_message LIKE '%"%') AND bool_or(customer_message LIKE '%''%')),
       pg_temp.expect('text has commas, newlines, tabs and backslashes', bool_or(customer_message LIKE '%,%')
           AND bool_or(strpos(customer_message, E'\n') > 0) AND bool_or(strpos(draft_reply, E'\t') > 0)
           AND bool_or(strpos(customer_message, '\') > 0)),
       pg_temp.expect('there are NULLs and NULLs in arrays', bool_or(customer_email IS NULL) AND bool_or(draft_reply IS NULL)
           AND bool_or(confidence IS NULL) AND bool_or(array_position(tags, NULL) > 0)),
       pg_temp.expect('there are empty arrays', bool_or(tags = '{}')),
       pg_temp.expect('the generated column counts characters', bool_and(reply_chars IS NOT DISTINCT FROM char_length(draft_reply)))
FROM agent_approvals;

-- Planted rows are found
SELECT pg_temp.expect('found: ' || of_check || ' of ' || of_table, pg_temp.notices(act, of_check, of_table))
FROM (VALUES
    ('reviewed_has_reply', 'agent_approvals',
     $$UPDATE agent_approvals SET draft_reply = ' ' WHERE id = (SELECT id FROM agent_approvals WHERE status = 'approved' LIMIT 1)$$),
    ('updated_after_created', 'agent_approvals',
     $$UPDATE agent_approvals SET created_at = 'infinity' WHERE id = md5('approval1')::uuid$$),
    ('email_well_formed', 'agent_approvals',
     $$UPDATE agent_approvals SET customer_email = 'nobody' WHERE id = md5('approval1')::uuid$$),
    ('metadata_names_channel', 'agent_approvals',
     $$UPDATE agent_approvals SET metadata = metadata - 'channel' WHERE id = md5('approval1')::uuid$$),
    ('reference_exists', 'AgentApproval',
     $$ALTER TABLE "AgentApproval" DROP CONSTRAINT "AgentApproval_approvalId_fkey";
       UPDATE "AgentApproval" SET "approvalId" = md5('nobody')::uuid WHERE id = md5('decision1')::uuid$$),
    ('decided_after_created', 'AgentApproval',
     $$UPDATE "AgentApproval" SET "createdAt" = '2000-01-01' WHERE id = md5('decision1')::uuid$$),
    ('conversation_agrees', 'AgentApproval',
     $$UPDATE "AgentApproval" SET "conversationId" = 'other' WHERE id = md5('decision1')::uuid$$),
    ('reference_exists', 'AgentQuery',
     $$ALTER TABLE "AgentQuery" DROP CONSTRAINT "AgentQuery_approvalId_fkey";
       UPDATE "AgentQuery" SET "approvalId" = md5('nobody')::uuid WHERE id = 1$$),
    ('token_counts_positive', 'AgentQuery', $$UPDATE "AgentQuery" SET "tokenCounts" = '{1,-1}' WHERE id = 1$$),
    ('sequence_not_behind', 'AgentQuery', $$ALTER TABLE "AgentQuery" ALTER COLUMN id RESTART WITH 1$$),
    ('reference_exists', 'AgentFeedback',
     $$ALTER TABLE "AgentFeedback" DROP CONSTRAINT "AgentFeedback_followUpOf_fkey";
       UPDATE "AgentFeedback" SET "followUpOf" = -1 WHERE id = 1$$),
    ('sequence_not_behind', 'AgentFeedback', $$ALTER TABLE "AgentFeedback" ALTER COLUMN id RESTART WITH 1$$),
    ('reference_exists', 'agent_sdk_learning_data',
     $$ALTER TABLE agent_sdk_learning_data DROP CONSTRAINT agent_sdk_learning_data_feedback_id_fkey;
       UPDATE agent_sdk_learning_data SET feedback_id = -1 WHERE id = 1$$),
    ('pair_not_blank', 'agent_sdk_learning_data', $$UPDATE agent_sdk_learning_data SET input_text = '' WHERE id = 1$$),
    ('reference_exists', 'agent_sdk_notifications',
     $$ALTER TABLE agent_sdk_notifications DROP CONSTRAINT agent_sdk_notifications_approval_id_fkey;
       UPDATE agent_sdk_notifications SET approval_id = md5('nobody')::uuid WHERE id = md5('notification1')::uuid$$),
    ('sent_was_attempted', 'agent_sdk_notifications',
     $$UPDATE agent_sdk_notifications SET attempts = 0 WHERE sent_at IS NOT NULL$$),
    ('copy_has_its_id', 'agent_training_archive',
     $$UPDATE agent_training_archive SET data = data - 'id' WHERE id = md5('archive1')::uuid$$),
    ('log_not_blank', 'data_quality_log', $$UPDATE data_quality_log SET check_name = '' WHERE id = 1$$),
    ('rls_with_policies', 'AgentFeedback', $$ALTER TABLE "AgentFeedback" DISABLE ROW LEVEL SECURITY$$),
    ('rls_with_policies', 'data_quality_log',
     $$DROP POLICY auditor_reads ON data_quality_log; DROP POLICY app_logs ON data_quality_log$$)
) AS planted (of_check, of_table, act);
SELECT pg_temp.expect('what was planted is gone: ' || check_name || ' of ' || table_name, status = 'pass')
FROM run_all_quality_checks();

-- Constraints and triggers
SELECT pg_temp.expect('a dangling reference is refused', pg_temp.refuses(
    $$UPDATE "AgentApproval" SET "approvalId" = md5('nobody')::uuid WHERE id = md5('decision1')::uuid$$, '23503'));
SELECT pg_temp.expect('a priority of 9 is refused', pg_temp.refuses(
    $$UPDATE agent_approvals SET priority = 9 WHERE id = md5('approval1')::uuid$$, '23514'));
SELECT pg_temp.expect('an address without scheme is refused', pg_temp.refuses(
    $$UPDATE agent_sdk_notifications SET recipient = 'mira' WHERE id = md5('notification1')::uuid$$, '23514'));
SAVEPOINT touched;
WITH u AS (UPDATE agent_approvals SET priority = 1 WHERE id = md5('approval1')::uuid RETURNING updated_at)
SELECT pg_temp.expect('an update moves updated_at', updated_at >= transaction_timestamp()) FROM u;
WITH u AS (UPDATE "AgentApproval" SET "reviewer" = 'tom' WHERE id = md5('decision1')::uuid RETURNING "updatedAt")
SELECT pg_temp.expect('an update moves "updatedAt"', "updatedAt" >= transaction_timestamp() - interval '1 ms') FROM u;
ROLLBACK TO touched;

-- Row security: what the application should see, counted by the owner, and what it sees
CREATE TEMPORARY TABLE visible ON COMMIT DROP AS
SELECT (SELECT count(*) FROM agent_approvals) AS all_approvals,
       (SELECT count(*) FROM agent_approvals WHERE status <> 'expired') AS approvals,
       (SELECT count(*) FROM "AgentApproval" WHERE "reviewer" = 'mira') AS decisions,
       (SELECT count(*) FROM "AgentFeedback" f JOIN agent_approvals a ON a.id = f."approvalId" WHERE a.status <> 'expired') AS feedback,
       (SELECT count(*) FROM "AgentFeedback") AS all_feedback,
       (SELECT count(*) FROM agent_sdk_learning_data WHERE NOT quarantined) AS pairs,
       (SELECT count(*) FROM agent_sdk_notifications WHERE reviewer = 'mira' AND NOT internal) AS notifications,
       (SELECT count(*) FROM agent_training_archive) AS archived;
GRANT SELECT ON visible TO demo_app, demo_auditor;
SELECT pg_temp.expect('row security has something to hide and to show', approvals BETWEEN 1 AND all_approvals - 1
    AND decisions > 0 AND feedback BETWEEN 1 AND all_feedback - 1 AND pairs > 0 AND notifications > 0 AND archived > 0)
FROM visible;

SET LOCAL ROLE demo_app;
SELECT pg_temp.expect('demo_app without a reviewer sees no decision', count(*) = 0) FROM "AgentApproval";
SET LOCAL app.reviewer = 'mira';
SELECT pg_temp.expect('demo_app sees live approvals only', (SELECT count(*) FROM agent_approvals) = approvals),
       pg_temp.expect('demo_app sees mira''s decisions only', (SELECT count(*) FROM "AgentApproval") = decisions),
       pg_temp.expect('demo_app sees feedback on live approvals only', (SELECT count(*) FROM "AgentFeedback") = feedback),
       pg_temp.expect('demo_app sees no quarantined pair', (SELECT count(*) FROM agent_sdk_learning_data) = pairs),
       pg_temp.expect('demo_app sees mira''s public notifications only', (SELECT count(*) FROM agent_sdk_notifications) = notifications),
       pg_temp.expect('demo_app cannot read the archive', (SELECT count(*) FROM agent_training_archive) = 0)
FROM visible;
SELECT pg_temp.expect('demo_app cannot expire an approval', pg_temp.refuses(
    $$UPDATE agent_approvals SET status = 'expired'$$, '42501'));
SELECT pg_temp.expect('demo_app cannot decide in another''s name', pg_temp.refuses(
    $$UPDATE "AgentApproval" SET "reviewer" = 'tom'$$, '42501'));

SET LOCAL ROLE demo_auditor;
SELECT pg_temp.expect('demo_auditor sees every approval', (SELECT count(*) FROM agent_approvals) = all_approvals),
       pg_temp.expect('demo_auditor sees the archive', (SELECT count(*) FROM agent_training_archive) = archived)
FROM visible;
SELECT pg_temp.expect('demo_auditor can run the quality checks', bool_and(status = 'pass')) FROM run_all_quality_checks();
SELECT pg_temp.expect('demo_auditor cannot write', pg_temp.refuses($$DELETE FROM agent_approvals$$, '42501'));
ROLLBACK;

-- The three views refresh without blocking readers, and are not empty
BEGIN;
SET LOCAL ROLE demo_owner;
REFRESH MATERIALIZED VIEW CONCURRENTLY public.mv_agent_queue_realtime;
REFRESH MATERIALIZED VIEW CONCURRENTLY public.mv_agent_accuracy_rolling;
REFRESH MATERIALIZED VIEW CONCURRENTLY public.mv_query_performance_live;
DO $$
BEGIN
    IF (SELECT sum(approvals) FROM public.mv_agent_queue_realtime) IS DISTINCT FROM (SELECT count(*) FROM public.agent_approvals)
        OR (SELECT sum(decisions) FROM public.mv_agent_accuracy_rolling) IS DISTINCT FROM (SELECT count(*) FROM public."AgentApproval")
        OR (SELECT sum(queries) FROM public.mv_query_performance_live) IS DISTINCT FROM (SELECT count(*) FROM public."AgentQuery")
    THEN
        RAISE EXCEPTION 'demo check: a materialised view disagrees with its table';
    END IF;
END
$$;
COMMIT;
\echo demo check: passed
