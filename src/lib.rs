//! agent_backup: backs up chosen tables of a live PostgreSQL database from inside it.

pgrx::pg_module_magic!(name, version);
