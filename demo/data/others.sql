-- The other tables. Each refers to approvals that exist: n % rows + 1 is one of their row numbers.

INSERT INTO "AgentApproval" (id, "approvalId", "conversationId", "action", "reviewer", "editedReply", "policyVersions",
    "createdAt", "updatedAt")
SELECT md5('decision' || i)::uuid, ap.id, ap.conversation_id, action, p.reviewer[1 + ((a >> 4) & 7)],
       CASE WHEN action = 'EDIT' THEN p.reply[1 + ((a >> 8) & 15)] || ' ' || p.note[1 + ((a >> 12) & 7)] END,
       CASE WHEN (a >> 16) & 7 = 0 THEN '{}' ELSE ARRAY[(a >> 20) % 40, (a >> 25) % 40]::int[] END,
       ap.created_at + interval '1 minute', ap.updated_at + interval '1 minute'
FROM generate_series(1, :rows::bigint / 2) AS i
CROSS JOIN demo_phrase AS p
CROSS JOIN LATERAL (SELECT hashint8extended(i, 11) & 9223372036854775807 AS a OFFSET 0) AS h
CROSS JOIN LATERAL (SELECT (ARRAY['APPROVE', 'APPROVE', 'APPROVE', 'APPROVE', 'APPROVE', 'EDIT', 'REJECT', 'ESCALATE']
    ::"ApprovalAction"[])[1 + (a & 7)] AS action OFFSET 0) AS s
JOIN agent_approvals AS ap ON ap.id = md5('approval' || i * 2)::uuid;

INSERT INTO "AgentQuery" ("approvalId", "conversationId", "agentName", "query", "result", "sources", "tokenCounts",
    "costUsd", "latencyMs", "createdAt")
SELECT CASE WHEN a & 15 > 0 THEN md5('approval' || n)::uuid END,
       'c-' || to_hex(n + 1048576),
       p.agent[1 + ((a >> 4) & 3)],
       'status of #' || (a >> 40) % 1000000 || ': ' || p.matter[1 + ((a >> 6) & 15)],
       CASE WHEN (a >> 10) & 7 > 0 THEN jsonb_build_object('found', (a >> 13) & 1 = 1, 'rows', (a >> 14) & 31,
           'text', p.reply[1 + ((a >> 19) & 15)], 'empty', '{}'::jsonb, 'none', NULL) END,
       CASE WHEN (a >> 23) & 3 = 0 THEN '{}' ELSE ARRAY['kb/' || (a >> 25) % 500, p.tag[1 + ((a >> 30) & 7)]] END,
       CASE WHEN (a >> 33) & 7 > 0 THEN ARRAY[(a >> 20) % 4000, NULL, (a >> 30) % 900]::int[] END,
       ((a >> 36) % 90000) / 1000000.0,
       50 + (a >> 44) % 3000,
       :'base_time'::timestamptz - interval '1 hour' - interval '90 days' * ((:rows - n)::float8 / :rows)
FROM generate_series(1, :rows::bigint / 2) AS i
CROSS JOIN demo_phrase AS p
CROSS JOIN LATERAL (SELECT hashint8extended(i, 21) & 9223372036854775807 AS a, (i * 7) % :rows + 1 AS n OFFSET 0) AS h
ORDER BY i;

INSERT INTO "AgentFeedback" ("approvalId", "queryId", "followUpOf", "rating", "comment", "labels", "scores", "createdAt")
SELECT md5('approval' || n)::uuid,
       CASE WHEN a & 3 > 0 THEN i END,
       CASE WHEN i > 1 AND (a >> 2) & 15 = 0 THEN 1 + (a >> 6) % (i - 1) END,
       1 + (a >> 10) % 5,
       CASE WHEN (a >> 14) & 1 = 0 THEN p.matter[1 + ((a >> 15) & 15)] || '; ' || p.reply[1 + ((a >> 19) & 15)] END,
       CASE (a >> 23) & 3 WHEN 0 THEN NULL WHEN 1 THEN '{}' ELSE ARRAY[p.tag[1 + ((a >> 25) & 7)], 'NULL', ''] END,
       jsonb_build_object('tone', (a >> 28) % 100 / 10.0, 'facts', jsonb_build_array((a >> 35) & 7, NULL, (a >> 38) & 1 = 1)),
       :'base_time'::timestamptz - interval '30 minutes' - interval '90 days' * ((:rows - n)::float8 / :rows)
FROM generate_series(1, :rows::bigint / 4) AS i
CROSS JOIN demo_phrase AS p
CROSS JOIN LATERAL (SELECT hashint8extended(i, 31) & 9223372036854775807 AS a, (i * 13) % :rows + 1 AS n OFFSET 0) AS h
ORDER BY i;

INSERT INTO agent_sdk_learning_data (feedback_id, intent, input_text, target_text, features, confusion, weight, quarantined,
    created_at, updated_at)
SELECT f.id, p.agent[1 + (a & 3)], p.opening[1 + ((a >> 2) & 15)] || ' ' || p.matter[1 + ((a >> 6) & 15)],
       p.reply[1 + ((a >> 10) & 15)],
       jsonb_build_object('rating', f."rating", 'labels', to_jsonb(f."labels"), 'length', (a >> 14) % 400),
       CASE WHEN (a >> 22) & 7 > 0 THEN ARRAY[ARRAY[(a >> 25) % 99, (a >> 30) % 99], ARRAY[(a >> 35) % 99, (a >> 40) % 99]]::int[] END,
       (1 + (a >> 20) % 300000) / 100000.0, (a >> 50) & 15 = 0,
       f."createdAt", f."createdAt" + interval '1 day'
FROM "AgentFeedback" AS f
CROSS JOIN demo_phrase AS p
CROSS JOIN LATERAL (SELECT hashint8extended(f.id, 41) & 9223372036854775807 AS a OFFSET 0) AS h
WHERE f.id <= :rows::bigint / 10
ORDER BY f.id;

INSERT INTO agent_sdk_notifications (id, approval_id, reviewer, recipient, subject, payload, attempts, internal, sent_at, read_at, created_at)
SELECT md5('notification' || i)::uuid,
       CASE WHEN a & 31 > 0 THEN md5('approval' || n)::uuid END,
       s.reviewer,
       CASE (a >> 5) & 1 WHEN 0 THEN 'slack:@' || s.reviewer ELSE 'mailto:' || s.reviewer || '@hotdesk.example' END,
       'Please review: ' || p.matter[1 + ((a >> 6) & 15)],
       jsonb_build_object('url', '/approvals/' || n, 'retry', jsonb_build_array(1, 5, 25)),
       CASE WHEN sent THEN 1 + (a >> 10) % 3 ELSE 0 END,
       (a >> 13) & 15 = 0,
       CASE WHEN sent THEN s.created_at + interval '2 seconds' END,
       CASE WHEN sent AND (a >> 20) & 1 = 1 THEN s.created_at + interval '5 minutes' END,
       s.created_at
FROM generate_series(1, :rows::bigint / 4) AS i
CROSS JOIN demo_phrase AS p
CROSS JOIN LATERAL (SELECT hashint8extended(i, 51) & 9223372036854775807 AS a, (i * 3) % :rows + 1 AS n OFFSET 0) AS h
CROSS JOIN LATERAL (SELECT (a >> 24) & 7 > 0 AS sent, p.reviewer[1 + ((a >> 28) & 7)] AS reviewer,
    :'base_time'::timestamptz - interval '1 hour' - interval '90 days' * ((:rows - n)::float8 / :rows) AS created_at OFFSET 0) AS s;

INSERT INTO agent_training_archive (id, original_table, original_id, data, archive_reason, archived_at)
SELECT md5('archive' || i)::uuid, 'agent_approvals', ap.id::text, to_jsonb(ap),
       (ARRAY['training_export', 'customer_request', NULL, 'record before a correction'])[1 + i % 4], ap.updated_at + interval '10 minutes'
FROM generate_series(1, :rows::bigint / 20) AS i
JOIN agent_approvals AS ap ON ap.id = md5('approval' || i * 20)::uuid;

INSERT INTO data_quality_log (check_name, table_name, status, row_count, score, details, checked_at)
SELECT 'nightly_scan', (ARRAY['agent_approvals', 'AgentApproval', 'AgentFeedback', 'AgentQuery'])[1 + i % 4],
       CASE WHEN a & 63 = 0 THEN 'warn' ELSE 'pass' END, (a >> 6) % 1000000, 90 + ((a >> 26) % 1000) / 100.0,
       jsonb_build_object('nulls', (a >> 36) % 50, 'note', CASE WHEN a & 63 = 0 THEN 'slow "scan", retried' END),
       :'base_time'::timestamptz - interval '1 day' - interval '90 days' * (1 - i::float8 / (:rows::bigint / 100))
FROM generate_series(1, :rows::bigint / 100) AS i
CROSS JOIN LATERAL (SELECT hashint8extended(i, 61) & 9223372036854775807 AS a OFFSET 0) AS h
ORDER BY i;
