-- Roles that can log in and are superusers, or have a role by which backups are made, read or looked after.
SELECT '' AS role, r.rolname::text AS member, true AS is_superuser
  FROM pg_catalog.pg_roles r
 WHERE r.rolcanlogin AND r.rolsuper
UNION ALL
SELECT g.rolname::text, r.rolname::text, false
  FROM pg_catalog.pg_roles r
  JOIN pg_catalog.pg_roles g
    ON pg_catalog.starts_with(g.rolname::text, 'agent_backup_') OR g.rolname IN ('pg_read_server_files', 'pg_write_server_files', $1)
 WHERE r.rolcanlogin AND NOT r.rolsuper AND r.oid <> g.oid AND pg_catalog.pg_has_role(r.oid, g.oid, 'MEMBER')
 ORDER BY is_superuser DESC, member, role
