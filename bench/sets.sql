-- The sets that are measured: options as create_set gives them, except the formats that a comparison names.
SET client_min_messages = warning;
SELECT agent_backup.create_set('bench_csv', formats => '{csv}');
SELECT agent_backup.create_set('bench_json', formats => '{json}');
SELECT agent_backup.create_set('bench_both');
SELECT agent_backup.create_set('bench_all');
SELECT agent_backup.add_table(name, 'public.agent_approvals') FROM unnest('{bench_csv,bench_json,bench_both}'::text[]) AS name;
SELECT agent_backup.add_table('bench_all', name)
FROM unnest('{agent_approvals,AgentApproval,AgentFeedback,AgentQuery,agent_sdk_learning_data,agent_sdk_notifications,agent_training_archive,data_quality_log}'::text[]) AS name;
SELECT to_regclass('large.agent_approvals') IS NOT NULL AS large \gset
\if :large
SELECT agent_backup.create_set('bench_large');
SELECT agent_backup.add_table('bench_large', 'large.agent_approvals');
\endif
