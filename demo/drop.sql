-- Takes the demo application out of this database. The roles stay, since other databases of the
-- server may use them; -v drop_roles=1 drops them too.
\set ON_ERROR_STOP on
\if :{?drop_roles}
\else
\set drop_roles 0
\endif
SET client_min_messages = warning;

BEGIN;
DROP FUNCTION IF EXISTS public.run_all_quality_checks();
DROP VIEW IF EXISTS public.v_data_quality_current;
DROP MATERIALIZED VIEW IF EXISTS public.mv_agent_queue_realtime, public.mv_agent_accuracy_rolling,
    public.mv_query_performance_live;
DROP TABLE IF EXISTS public.agent_sdk_learning_data, public.agent_sdk_notifications, public."AgentFeedback",
    public."AgentQuery", public."AgentApproval", public.agent_approvals, public.agent_training_archive,
    public.data_quality_log;
DROP FUNCTION IF EXISTS public.set_updated_at(), public."setUpdatedAt"();
DROP DOMAIN IF EXISTS public.notification_address;
DROP TYPE IF EXISTS public.agent_approval_status, public."ApprovalAction";
COMMIT;

\if :drop_roles
REVOKE ALL ON SCHEMA public FROM demo_owner, demo_app, demo_auditor;
DROP ROLE IF EXISTS demo_app, demo_auditor, demo_owner;
\endif
