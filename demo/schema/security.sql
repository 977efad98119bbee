-- demo_app is what the web application connects as; it names the person with
--   SET app.reviewer = 'mira'
-- demo_auditor reads everything and changes nothing. The owner is not subject to the policies.

GRANT SELECT, INSERT, UPDATE, DELETE ON agent_approvals, "AgentApproval", "AgentFeedback", "AgentQuery",
    agent_sdk_learning_data, agent_sdk_notifications TO demo_app;
GRANT SELECT, INSERT ON agent_training_archive, data_quality_log TO demo_app;
GRANT USAGE ON SEQUENCE "AgentFeedback_id_seq" TO demo_app;
GRANT SELECT ON mv_agent_queue_realtime, mv_agent_accuracy_rolling, mv_query_performance_live TO demo_app, demo_auditor;
GRANT SELECT ON agent_approvals, "AgentApproval", "AgentFeedback", "AgentQuery", agent_sdk_learning_data,
    agent_sdk_notifications, agent_training_archive, data_quality_log, v_data_quality_current TO demo_auditor;
GRANT SELECT ON SEQUENCE "AgentQuery_id_seq", "AgentFeedback_id_seq", agent_sdk_learning_data_id_seq,
    data_quality_log_id_seq TO demo_auditor;
REVOKE EXECUTE ON FUNCTION run_all_quality_checks() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION run_all_quality_checks() TO demo_auditor;

ALTER TABLE agent_approvals ENABLE ROW LEVEL SECURITY;
ALTER TABLE "AgentApproval" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "AgentFeedback" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "AgentQuery" ENABLE ROW LEVEL SECURITY;
ALTER TABLE agent_sdk_learning_data ENABLE ROW LEVEL SECURITY;
ALTER TABLE agent_sdk_notifications ENABLE ROW LEVEL SECURITY;
ALTER TABLE agent_training_archive ENABLE ROW LEVEL SECURITY;
ALTER TABLE data_quality_log ENABLE ROW LEVEL SECURITY;

CREATE POLICY auditor_reads ON agent_approvals FOR SELECT TO demo_auditor USING (true);
CREATE POLICY auditor_reads ON "AgentApproval" FOR SELECT TO demo_auditor USING (true);
CREATE POLICY auditor_reads ON "AgentFeedback" FOR SELECT TO demo_auditor USING (true);
CREATE POLICY auditor_reads ON "AgentQuery" FOR SELECT TO demo_auditor USING (true);
CREATE POLICY auditor_reads ON agent_sdk_learning_data FOR SELECT TO demo_auditor USING (true);
CREATE POLICY auditor_reads ON agent_sdk_notifications FOR SELECT TO demo_auditor USING (true);
CREATE POLICY auditor_reads ON agent_training_archive FOR SELECT TO demo_auditor USING (true);
CREATE POLICY auditor_reads ON data_quality_log FOR SELECT TO demo_auditor USING (true);

-- Expired approvals are out of the application's sight, and it cannot expire one itself.
CREATE POLICY app_live_approvals ON agent_approvals TO demo_app
    USING (status <> 'expired') WITH CHECK (status <> 'expired');
CREATE POLICY "appOwnDecisions" ON "AgentApproval" TO demo_app
    USING ("reviewer" = current_setting('app.reviewer', true))
    WITH CHECK ("reviewer" = current_setting('app.reviewer', true));
-- These two follow agent_approvals: the inner query is filtered by its policy.
CREATE POLICY "appQueriesOfLiveApprovals" ON "AgentQuery" TO demo_app
    USING ("approvalId" IS NULL OR EXISTS (SELECT FROM agent_approvals a WHERE a.id = "AgentQuery"."approvalId"));
CREATE POLICY "appFeedbackOnLiveApprovals" ON "AgentFeedback" TO demo_app
    USING (EXISTS (SELECT FROM agent_approvals a WHERE a.id = "AgentFeedback"."approvalId"));
CREATE POLICY app_usable_pairs ON agent_sdk_learning_data TO demo_app USING (NOT quarantined);
CREATE POLICY app_own_notifications ON agent_sdk_notifications TO demo_app
    USING (reviewer = current_setting('app.reviewer', true));
CREATE POLICY app_never_internal ON agent_sdk_notifications AS RESTRICTIVE TO demo_app USING (NOT internal);
-- Writes to the archive and the log, and reads neither.
CREATE POLICY app_archives ON agent_training_archive FOR INSERT TO demo_app WITH CHECK (true);
CREATE POLICY app_logs ON data_quality_log FOR INSERT TO demo_app WITH CHECK (true);
