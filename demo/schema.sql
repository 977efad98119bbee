-- The demo application: the eight tables of a customer-support agent.
--
--   psql -d mydb -f demo/schema.sql
--
-- Only CREATE ROLE and the grant on the schema need more than an ordinary role;
-- everything else is made, and owned, by demo_owner.
\set ON_ERROR_STOP on
SET client_encoding = 'UTF8';
SET client_min_messages = warning;

BEGIN;

DO $roles$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['demo_owner', 'demo_app', 'demo_auditor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another database of the cluster made it just now
            END;
        END IF;
        IF NOT pg_has_role(current_user, wanted, 'MEMBER') THEN
            EXECUTE format('GRANT %I TO %I', wanted, current_user);
        END IF;
    END LOOP;
    IF NOT has_schema_privilege('demo_owner', 'public', 'CREATE') THEN
        GRANT USAGE, CREATE ON SCHEMA public TO demo_owner;
    END IF;
END
$roles$;

GRANT USAGE ON SCHEMA public TO demo_app, demo_auditor;
SET LOCAL ROLE demo_owner;
SET LOCAL search_path = public;

-- Types -----------------------------------------------------------------------

CREATE TYPE agent_approval_status AS ENUM ('pending', 'approved', 'edited', 'rejected', 'expired');
CREATE TYPE "ApprovalAction" AS ENUM ('APPROVE', 'EDIT', 'REJECT', 'ESCALATE');
CREATE DOMAIN notification_address AS text
    CONSTRAINT notification_address_has_a_scheme CHECK (VALUE ~ '^(mailto|slack|webhook):');

-- updated_at ------------------------------------------------------------------

CREATE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;

CREATE FUNCTION "setUpdatedAt"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW."updatedAt" := clock_timestamp();
    RETURN NEW;
END
$$;

-- Tables ----------------------------------------------------------------------

-- Rows change status a few times in their first hour: room is left on the page for that.
CREATE TABLE agent_approvals (
    id                       uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    conversation_id          text NOT NULL,
    chatwoot_conversation_id bigint NOT NULL,
    customer_email           text,
    customer_message         text NOT NULL,
    draft_reply              text,
    reviewer_note            text,
    metadata                 jsonb NOT NULL DEFAULT '{}',
    tags                     text[] NOT NULL DEFAULT '{}',
    status                   agent_approval_status NOT NULL DEFAULT 'pending',
    escalated                boolean NOT NULL DEFAULT false,
    priority                 integer NOT NULL DEFAULT 3,
    tokens                   integer,
    latency_ms               integer,
    confidence               numeric(12,4),
    created_at               timestamptz NOT NULL DEFAULT now(),
    updated_at               timestamptz NOT NULL DEFAULT now(),
    reply_chars              integer GENERATED ALWAYS AS (char_length(draft_reply)) STORED,
    CONSTRAINT agent_approvals_conversation_key UNIQUE (chatwoot_conversation_id),
    CONSTRAINT agent_approvals_priority_check CHECK (priority BETWEEN 1 AND 5),
    CONSTRAINT agent_approvals_confidence_check CHECK (confidence BETWEEN 0 AND 100),
    CONSTRAINT agent_approvals_tokens_check CHECK (tokens >= 0 AND latency_ms >= 0)
) WITH (fillfactor = 95);
CREATE INDEX agent_approvals_created_at_idx ON agent_approvals (created_at DESC);
CREATE INDEX agent_approvals_queue_idx ON agent_approvals (priority, created_at) WHERE status = 'pending';
CREATE INDEX agent_approvals_email_idx ON agent_approvals (lower(customer_email)) WHERE customer_email IS NOT NULL;
CREATE INDEX agent_approvals_tags_idx ON agent_approvals USING gin (tags);
CREATE TRIGGER agent_approvals_updated_at BEFORE UPDATE ON agent_approvals
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TABLE "AgentApproval" (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    "approvalId"    uuid NOT NULL,
    "conversationId" text NOT NULL,
    "action"        "ApprovalAction" NOT NULL,
    "reviewer"      text NOT NULL,
    "editedReply"   text,
    "policyVersions" integer[] NOT NULL DEFAULT '{}',
    "createdAt"     timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt"     timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "AgentApproval_approvalId_fkey" FOREIGN KEY ("approvalId")
        REFERENCES agent_approvals (id) ON UPDATE CASCADE ON DELETE CASCADE,
    CONSTRAINT "AgentApproval_edit_check" CHECK (("action" = 'EDIT') = ("editedReply" IS NOT NULL))
);
CREATE INDEX "AgentApproval_approvalId_idx" ON "AgentApproval" ("approvalId");
CREATE INDEX "AgentApproval_reviewer_createdAt_idx" ON "AgentApproval" ("reviewer", "createdAt");
CREATE TRIGGER "AgentApproval_updatedAt" BEFORE UPDATE ON "AgentApproval"
    FOR EACH ROW EXECUTE FUNCTION "setUpdatedAt"();

CREATE TABLE "AgentQuery" (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "approvalId"     uuid,
    "conversationId" text NOT NULL,
    "agentName"      text NOT NULL,
    "query"          text NOT NULL,
    "result"         jsonb,
    "sources"        text[] NOT NULL DEFAULT '{}',
    "tokenCounts"    integer[],
    "costUsd"        numeric(10,6) NOT NULL DEFAULT 0,
    "latencyMs"      integer NOT NULL,
    "isSlow"         boolean GENERATED ALWAYS AS ("latencyMs" > 2000) STORED,
    "createdAt"      timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "AgentQuery_approvalId_fkey" FOREIGN KEY ("approvalId")
        REFERENCES agent_approvals (id) ON UPDATE CASCADE ON DELETE SET NULL,
    CONSTRAINT "AgentQuery_latencyMs_check" CHECK ("latencyMs" >= 0)
);
CREATE INDEX "AgentQuery_approvalId_idx" ON "AgentQuery" ("approvalId");
CREATE INDEX "AgentQuery_agentName_createdAt_idx" ON "AgentQuery" ("agentName", "createdAt");

CREATE TABLE "AgentFeedback" (
    id               bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    "approvalId"     uuid NOT NULL,
    "queryId"        bigint,
    "followUpOf"     bigint,
    "rating"         smallint NOT NULL,
    "comment"        text,
    "labels"         text[],
    "scores"         jsonb NOT NULL DEFAULT '{}',
    "createdAt"      timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "AgentFeedback_approvalId_fkey" FOREIGN KEY ("approvalId")
        REFERENCES agent_approvals (id) ON UPDATE CASCADE ON DELETE CASCADE,
    CONSTRAINT "AgentFeedback_queryId_fkey" FOREIGN KEY ("queryId")
        REFERENCES "AgentQuery" (id) ON DELETE SET NULL,
    CONSTRAINT "AgentFeedback_followUpOf_fkey" FOREIGN KEY ("followUpOf")
        REFERENCES "AgentFeedback" (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT "AgentFeedback_rating_check" CHECK ("rating" BETWEEN 1 AND 5)
);
CREATE INDEX "AgentFeedback_approvalId_idx" ON "AgentFeedback" ("approvalId");
CREATE INDEX "AgentFeedback_queryId_idx" ON "AgentFeedback" ("queryId");
CREATE INDEX "AgentFeedback_followUpOf_idx" ON "AgentFeedback" ("followUpOf") WHERE "followUpOf" IS NOT NULL;

CREATE TABLE agent_sdk_learning_data (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    feedback_id  bigint NOT NULL REFERENCES "AgentFeedback" (id) ON DELETE CASCADE,
    intent       text NOT NULL,
    input_text   text NOT NULL,
    target_text  text NOT NULL,
    features     jsonb NOT NULL DEFAULT '{}',
    confusion    integer[],
    weight       numeric(8,5) NOT NULL DEFAULT 1,
    quarantined  boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT agent_sdk_learning_data_feedback_intent_key UNIQUE (feedback_id, intent),
    CONSTRAINT agent_sdk_learning_data_weight_check CHECK (weight > 0)
);
CREATE TRIGGER agent_sdk_learning_data_updated_at BEFORE UPDATE ON agent_sdk_learning_data
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TABLE agent_sdk_notifications (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    approval_id  uuid REFERENCES agent_approvals (id) ON DELETE CASCADE,
    reviewer     text NOT NULL,
    recipient    notification_address NOT NULL,
    subject      text NOT NULL,
    payload      jsonb NOT NULL DEFAULT '{}',
    attempts     integer NOT NULL DEFAULT 0 CHECK (attempts BETWEEN 0 AND 10),
    internal     boolean NOT NULL DEFAULT false,
    sent_at      timestamptz,
    read_at      timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT agent_sdk_notifications_read_after_sent CHECK (read_at IS NULL OR read_at >= sent_at)
);
CREATE INDEX agent_sdk_notifications_approval_idx ON agent_sdk_notifications (approval_id);
CREATE INDEX agent_sdk_notifications_unsent_idx ON agent_sdk_notifications (created_at) WHERE sent_at IS NULL;

CREATE TABLE agent_training_archive (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    original_table text NOT NULL,
    original_id    text NOT NULL,
    data           jsonb NOT NULL,
    archive_reason text,
    archived_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX agent_training_archive_original_idx
    ON agent_training_archive (original_table, original_id, archived_at DESC);

CREATE TABLE data_quality_log (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    check_name  text NOT NULL,
    table_name  text NOT NULL,
    status      text NOT NULL CHECK (status IN ('pass', 'warn', 'fail')),
    row_count   bigint CHECK (row_count >= 0),
    score       numeric(5,2) CHECK (score BETWEEN 0 AND 100),
    details     jsonb NOT NULL DEFAULT '{}',
    checked_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX data_quality_log_latest_idx ON data_quality_log (table_name, check_name, checked_at DESC);

\ir schema/comments.sql
\ir schema/views.sql
\ir schema/quality.sql
\ir schema/security.sql

COMMIT;
