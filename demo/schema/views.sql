-- Materialised views of the dashboard. Each has a unique index on plain columns, as
-- REFRESH MATERIALIZED VIEW CONCURRENTLY demands.

CREATE MATERIALIZED VIEW mv_agent_queue_realtime AS
SELECT status, priority, count(*) AS approvals, count(*) FILTER (WHERE escalated) AS escalated,
       min(created_at) AS oldest, max(created_at) AS newest, round(avg(confidence), 4) AS mean_confidence
FROM agent_approvals
GROUP BY status, priority;
CREATE UNIQUE INDEX mv_agent_queue_realtime_key ON mv_agent_queue_realtime (status, priority);

CREATE MATERIALIZED VIEW mv_agent_accuracy_rolling AS
WITH daily AS (
    SELECT ("createdAt" AT TIME ZONE 'UTC')::date AS day,
           count(*) AS decisions,
           count(*) FILTER (WHERE "action" = 'APPROVE') AS approved_unchanged
    FROM "AgentApproval"
    GROUP BY 1
)
SELECT day, decisions, approved_unchanged,
       round(100.0 * sum(approved_unchanged) OVER week / sum(decisions) OVER week, 2) AS accuracy_7d
FROM daily
WINDOW week AS (ORDER BY day RANGE BETWEEN INTERVAL '6 days' PRECEDING AND CURRENT ROW);
CREATE UNIQUE INDEX mv_agent_accuracy_rolling_key ON mv_agent_accuracy_rolling (day);

CREATE MATERIALIZED VIEW mv_query_performance_live AS
SELECT "agentName" AS agent_name, date_trunc('day', "createdAt", 'UTC') AS day, count(*) AS queries,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY "latencyMs") AS p50_ms,
       percentile_disc(0.95) WITHIN GROUP (ORDER BY "latencyMs") AS p95_ms,
       count(*) FILTER (WHERE "isSlow") AS slow, sum("costUsd") AS cost_usd
FROM "AgentQuery"
GROUP BY 1, 2;
CREATE UNIQUE INDEX mv_query_performance_live_key ON mv_query_performance_live (agent_name, day);

-- Rows now beside the rows at the last logged count, and the last verdict of any check.
CREATE VIEW v_data_quality_current WITH (security_invoker = true) AS
WITH live AS (
    SELECT 'agent_approvals' AS table_name, count(*) AS row_count, max(created_at) AS newest_row FROM agent_approvals
    UNION ALL SELECT 'AgentApproval', count(*), max("createdAt") FROM "AgentApproval"
    UNION ALL SELECT 'AgentFeedback', count(*), max("createdAt") FROM "AgentFeedback"
    UNION ALL SELECT 'AgentQuery', count(*), max("createdAt") FROM "AgentQuery"
    UNION ALL SELECT 'agent_sdk_learning_data', count(*), max(created_at) FROM agent_sdk_learning_data
    UNION ALL SELECT 'agent_sdk_notifications', count(*), max(created_at) FROM agent_sdk_notifications
    UNION ALL SELECT 'agent_training_archive', count(*), max(archived_at) FROM agent_training_archive
    UNION ALL SELECT 'data_quality_log', count(*), max(checked_at) FROM data_quality_log
), latest AS (
    SELECT DISTINCT ON (table_name, check_name) table_name, check_name, status, row_count, checked_at
    FROM data_quality_log
    ORDER BY table_name, check_name, checked_at DESC, id DESC
)
SELECT live.table_name, live.row_count,
       max(latest.row_count) FILTER (WHERE latest.check_name = 'row_count') AS logged_row_count,
       live.newest_row,
       count(*) FILTER (WHERE latest.status = 'fail') AS failing_checks,
       max(latest.checked_at) AS last_checked_at
FROM live LEFT JOIN latest USING (table_name)
GROUP BY live.table_name, live.row_count, live.newest_row;
