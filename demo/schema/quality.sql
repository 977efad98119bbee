-- Every check counts the rows that break a rule which no constraint states, or which a load
-- with constraints off may have broken. A status is 'pass' or 'fail'; details has the count.
CREATE FUNCTION run_all_quality_checks()
RETURNS TABLE (check_name text, table_name text, status text, details jsonb)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
WITH finding (check_name, table_name, bad_rows) AS (
    SELECT 'reviewed_has_reply', 'agent_approvals', count(*) FROM agent_approvals
        WHERE status IN ('approved', 'edited') AND coalesce(btrim(draft_reply), '') = ''
    UNION ALL
    SELECT 'updated_after_created', 'agent_approvals', count(*) FROM agent_approvals WHERE updated_at < created_at
    UNION ALL
    SELECT 'email_well_formed', 'agent_approvals', count(*) FROM agent_approvals
        WHERE customer_email !~ '^[^@[:space:]]+@[^@[:space:]]+\.[^@[:space:]]+$'
    UNION ALL
    SELECT 'metadata_names_channel', 'agent_approvals', count(*) FROM agent_approvals
        WHERE metadata ->> 'channel' IS NULL
    UNION ALL
    SELECT 'reference_exists', 'AgentApproval', count(*) FROM "AgentApproval" c
        WHERE NOT EXISTS (SELECT FROM agent_approvals p WHERE p.id = c."approvalId")
    UNION ALL
    SELECT 'decided_after_created', 'AgentApproval', count(*)
        FROM "AgentApproval" c JOIN agent_approvals p ON p.id = c."approvalId" WHERE c."createdAt" < p.created_at
    UNION ALL
    SELECT 'conversation_agrees', 'AgentApproval', count(*)
        FROM "AgentApproval" c JOIN agent_approvals p ON p.id = c."approvalId"
        WHERE c."conversationId" <> p.conversation_id
    UNION ALL
    SELECT 'reference_exists', 'AgentQuery', count(*) FROM "AgentQuery" c
        WHERE c."approvalId" IS NOT NULL AND NOT EXISTS (SELECT FROM agent_approvals p WHERE p.id = c."approvalId")
    UNION ALL
    SELECT 'token_counts_positive', 'AgentQuery', count(*) FROM "AgentQuery" WHERE 0 > ANY ("tokenCounts")
    UNION ALL
    SELECT 'reference_exists', 'AgentFeedback', count(*) FROM "AgentFeedback" c
        WHERE NOT EXISTS (SELECT FROM agent_approvals p WHERE p.id = c."approvalId")
           OR (c."queryId" IS NOT NULL AND NOT EXISTS (SELECT FROM "AgentQuery" q WHERE q.id = c."queryId"))
           OR (c."followUpOf" IS NOT NULL AND NOT EXISTS (SELECT FROM "AgentFeedback" f WHERE f.id = c."followUpOf"))
    UNION ALL
    SELECT 'reference_exists', 'agent_sdk_learning_data', count(*) FROM agent_sdk_learning_data c
        WHERE NOT EXISTS (SELECT FROM "AgentFeedback" p WHERE p.id = c.feedback_id)
    UNION ALL
    SELECT 'pair_not_blank', 'agent_sdk_learning_data', count(*) FROM agent_sdk_learning_data
        WHERE btrim(input_text) = '' OR btrim(target_text) = ''
    UNION ALL
    SELECT 'reference_exists', 'agent_sdk_notifications', count(*) FROM agent_sdk_notifications c
        WHERE c.approval_id IS NOT NULL AND NOT EXISTS (SELECT FROM agent_approvals p WHERE p.id = c.approval_id)
    UNION ALL
    SELECT 'sent_was_attempted', 'agent_sdk_notifications', count(*) FROM agent_sdk_notifications
        WHERE sent_at IS NOT NULL AND attempts = 0
    UNION ALL
    SELECT 'copy_has_its_id', 'agent_training_archive', count(*) FROM agent_training_archive
        WHERE data ->> 'id' IS DISTINCT FROM original_id
    UNION ALL
    SELECT 'log_not_blank', 'data_quality_log', count(*) FROM data_quality_log
        WHERE btrim(check_name) = '' OR btrim(table_name) = ''
    UNION ALL
    -- An identity sequence behind its table makes the next insert fail: the classic of a careless restore.
    SELECT 'sequence_not_behind', seq.of_table,
           (seq.highest > coalesce(pg_sequence_last_value(pg_get_serial_sequence(quote_ident(seq.of_table), 'id')::regclass), 0))::int
    FROM (SELECT 'AgentQuery' AS of_table, max(id) AS highest FROM "AgentQuery"
          UNION ALL SELECT 'AgentFeedback', max(id) FROM "AgentFeedback"
          UNION ALL SELECT 'agent_sdk_learning_data', max(id) FROM agent_sdk_learning_data
          UNION ALL SELECT 'data_quality_log', max(id) FROM data_quality_log) seq
    UNION ALL
    SELECT 'rls_with_policies', member, (NOT coalesce(c.relrowsecurity
               AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid), false))::int
    FROM unnest(ARRAY['agent_approvals', 'AgentApproval', 'AgentFeedback', 'AgentQuery', 'agent_sdk_learning_data',
                      'agent_sdk_notifications', 'agent_training_archive', 'data_quality_log']) AS member
    LEFT JOIN pg_class c ON c.oid = to_regclass(quote_ident(member))
)
SELECT check_name, table_name, CASE WHEN coalesce(bad_rows, 0) = 0 THEN 'pass' ELSE 'fail' END,
       jsonb_build_object('bad_rows', coalesce(bad_rows, 0))
FROM finding
ORDER BY table_name, check_name
$$;
COMMENT ON FUNCTION run_all_quality_checks() IS 'One row per check of the application''s data, status pass or fail';
