-- Fills the demo application, the same every time for the same variables.
--
--   psql -d mydb -v rows=1000000 -f demo/data.sql
--
--   rows       rows of agent_approvals (default 10000); the other tables have fixed fractions of it
--   base_time  the newest moment in the data (default 2025-10-12 00:00:00+00); it reaches 90 days back
--
-- Values come from hashes of the row number. Phrases include emoji, Chinese, Arabic, Hebrew, combining
-- marks, quotes, commas, newlines, tabs and backslashes, since customers write them all.
\set ON_ERROR_STOP on
\if :{?rows}
\else
\set rows 10000
\endif
\if :{?base_time}
\else
\set base_time '2025-10-12 00:00:00+00'
\endif
SET client_encoding = 'UTF8';

BEGIN;
SET LOCAL ROLE demo_owner;
SET LOCAL search_path = public, pg_temp;
SET LOCAL TimeZone = 'UTC';
SET LOCAL standard_conforming_strings = on;
SET LOCAL client_min_messages = warning;
SET LOCAL jit = off;
SET LOCAL enable_memoize = off;
SET LOCAL maintenance_work_mem = '256MB';

DO $$
BEGIN
    IF EXISTS (SELECT FROM agent_approvals) OR EXISTS (SELECT FROM "AgentQuery") OR EXISTS (SELECT FROM data_quality_log) THEN
        RAISE EXCEPTION 'the demo tables already hold rows'
            USING HINT = 'Run demo/drop.sql and demo/schema.sql first.';
    END IF;
END
$$;

\ir data/phrases.sql
\ir data/approvals.sql
\ir data/others.sql

ANALYZE agent_approvals, "AgentApproval", "AgentFeedback", "AgentQuery", agent_sdk_learning_data,
    agent_sdk_notifications, agent_training_archive, data_quality_log;

-- What was loaded, so that v_data_quality_current has something to compare with.
INSERT INTO data_quality_log (check_name, table_name, status, row_count, score, details, checked_at)
SELECT 'row_count', table_name, 'pass', row_count, 100, '{"source": "load"}', :'base_time'::timestamptz
FROM v_data_quality_current
WHERE table_name <> 'data_quality_log'
ORDER BY table_name;

INSERT INTO data_quality_log (check_name, table_name, status, score, details, checked_at)
SELECT check_name, table_name, status, CASE status WHEN 'pass' THEN 100 ELSE 0 END, details, :'base_time'::timestamptz
FROM run_all_quality_checks();
COMMIT;

BEGIN;
SET LOCAL ROLE demo_owner;
ANALYZE data_quality_log;
REFRESH MATERIALIZED VIEW mv_agent_queue_realtime;
REFRESH MATERIALIZED VIEW mv_agent_accuracy_rolling;
REFRESH MATERIALIZED VIEW mv_query_performance_live;
ANALYZE mv_agent_queue_realtime, mv_agent_accuracy_rolling, mv_query_performance_live;
COMMIT;
DROP VIEW pg_temp.demo_phrase;
