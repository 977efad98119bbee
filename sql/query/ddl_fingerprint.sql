-- One text that changes with every change to what the ddl_*.sql queries read: per catalogue the number of its rows (of
-- users' objects) and the sum of their inserting transactions. A changed or new row has a younger transaction than any
-- before it, so with the same number of rows the sum only grows. Roles by their names. $1: the relations in question.
SELECT pg_catalog.md5(pg_catalog.string_agg(part, ' ' ORDER BY part) || ' ' || $1::oid[]::text
                      || ' ' || pg_catalog.current_setting('server_version'))
  FROM (
    SELECT 'pg_class ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_class WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_attribute ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_attribute WHERE attrelid >= 16384
    UNION ALL
    SELECT 'pg_attrdef ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_attrdef WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_constraint ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_constraint WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_index ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_index WHERE indexrelid >= 16384
    UNION ALL
    SELECT 'pg_trigger ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_trigger WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_policy ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_policy WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_rewrite ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_rewrite WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_inherits ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_inherits WHERE inhrelid >= 16384
    UNION ALL
    SELECT 'pg_depend ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_depend WHERE objid >= 16384
    UNION ALL
    SELECT 'pg_type ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_type WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_enum ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_enum WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_range ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_range WHERE rngtypid >= 16384
    UNION ALL
    SELECT 'pg_proc ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_proc WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_sequence ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_sequence WHERE seqrelid >= 16384
    UNION ALL
    SELECT 'pg_statistic_ext ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_statistic_ext WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_description ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_description WHERE objoid >= 16384
    UNION ALL
    SELECT 'pg_seclabel ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_seclabel WHERE objoid >= 16384
    UNION ALL
    SELECT 'pg_collation ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_collation WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_partitioned_table ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_partitioned_table WHERE partrelid >= 16384
    UNION ALL
    SELECT 'pg_foreign_table ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_foreign_table WHERE ftrelid >= 16384
    UNION ALL
    SELECT 'pg_operator ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_operator WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_opclass ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_opclass WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_opfamily ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_opfamily WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_cast ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_cast WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_am ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_am WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_ts_config ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_ts_config WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_ts_dict ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_ts_dict WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_conversion ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_conversion WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_transform ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_transform WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_namespace ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_namespace
    UNION ALL
    SELECT 'pg_extension ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_extension
    UNION ALL
    SELECT 'pg_language ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_language
    UNION ALL
    SELECT 'pg_foreign_server ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_foreign_server
    UNION ALL
    SELECT 'pg_event_trigger ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_event_trigger
    UNION ALL
    SELECT 'pg_publication ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_publication
    UNION ALL
    SELECT 'pg_publication_rel ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_publication_rel
    UNION ALL
    SELECT 'pg_tablespace ' || pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(xmin::text::bigint), 0)
      FROM pg_catalog.pg_tablespace
    UNION ALL
    SELECT 'roles ' || pg_catalog.count(*) || ' ' || pg_catalog.sum(pg_catalog.hashtextextended(oid::text || rolname, 0))
      FROM pg_catalog.pg_roles
  ) AS parts(part)
