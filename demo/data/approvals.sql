-- agent_approvals: about 430 bytes of heap a row. Row i has the id md5('approval' || i), which the other tables use.
-- The two indexes that are dear row by row are built afterwards.
DROP INDEX agent_approvals_tags_idx, agent_approvals_email_idx;

INSERT INTO agent_approvals (id, conversation_id, chatwoot_conversation_id, customer_email, customer_message, draft_reply,
    reviewer_note, metadata, tags, status, escalated, priority, tokens, latency_ms, confidence, created_at, updated_at)
SELECT
    md5('approval' || i)::uuid,
    'c-' || to_hex(i + 1048576),
    700000 + i,
    CASE WHEN (b & 31) > 0 THEN p.person[1 + ((a >> 4) & 15)] || i % 9973 || '@' || p.host[1 + ((b >> 5) & 3)] END,
    p.opening[1 + (a & 15)] || ' #' || (a >> 40) % 1000000 || ' ' || p.matter[1 + ((a >> 8) & 15)],
    CASE WHEN status = 'pending' AND (b & 7) = 0 THEN NULL ELSE p.reply[1 + ((a >> 12) & 15)] END,
    CASE WHEN (a >> 16) & 3 = 0 THEN p.note[1 + ((a >> 18) & 7)] END,
    jsonb_build_object(
        'channel', p.channel[1 + ((a >> 21) & 3)],
        'turns', jsonb_build_array((b >> 8) & 7, (b >> 11) & 63, (b >> 17) & 7, (b >> 20) & 15, (b >> 24) & 3,
            CASE (b >> 22) & 7
                WHEN 0 THEN 'null'::jsonb
                WHEN 1 THEN to_jsonb(p.opening[1 + ((b >> 25) & 15)])
                ELSE jsonb_build_object('n', (b >> 17) & 15, 'ok', (b >> 21) & 1 = 1)
            END)),
    CASE WHEN (a >> 23) & 7 = 0 THEN '{}' ELSE ARRAY[p.tag[1 + ((a >> 26) & 7)], p.tag[1 + ((a >> 29) & 7)], p.tag[1 + ((a >> 32) & 7)],
        CASE WHEN (a >> 35) & 7 > 0 THEN p.tag[1 + ((b >> 30) & 7)] END] END,
    status,
    (b >> 33) & 15 = 0,
    1 + (b >> 37) % 5,
    20 + (b >> 40) % 900,
    200 + (b >> 43) % 4000,
    CASE WHEN (b >> 44) & 31 > 0 THEN ((b >> 20) % 1000000) / 10000.0 END,
    created_at,
    created_at + ((b >> 45) % 3600) * interval '1 second'
FROM generate_series(1, :rows::bigint) AS i
CROSS JOIN demo_phrase AS p
CROSS JOIN LATERAL (
    SELECT hashint8extended(i, 1) & 9223372036854775807 AS a,
           hashint8extended(i, 2) & 9223372036854775807 AS b,
           date_trunc('milliseconds', :'base_time'::timestamptz - interval '1 hour'
               - interval '90 days' * ((:rows - i)::float8 / :rows)) AS created_at
    OFFSET 0
) AS h
CROSS JOIN LATERAL (
    SELECT (ARRAY['pending', 'approved', 'approved', 'approved', 'approved', 'edited', 'rejected', 'expired']
        ::agent_approval_status[])[1 + ((b >> 50) & 7)] AS status
    OFFSET 0
) AS s;

CREATE INDEX agent_approvals_email_idx ON agent_approvals (lower(customer_email)) WHERE customer_email IS NOT NULL;
CREATE INDEX agent_approvals_tags_idx ON agent_approvals USING gin (tags);
ANALYZE agent_approvals;
