-- The state of every sequence that the relations of $1 (oid[]) own or draw from, read after their data.
-- Rows: section, ordinal, object, statement. Sequences are read past the snapshot, as pg_dump reads them:
-- a value read later can only be further on. Each sequence is a relation of its own to read; ts_stat is the one
-- function of every version and build that runs a query given as text, so the state travels as its word
-- ("last_value:is_called"). It needs SELECT on the sequence.
WITH RECURSIVE
listed AS MATERIALIZED (
    SELECT DISTINCT t.oid
    FROM pg_catalog.unnest($1::oid[]) AS u(oid)
    CROSS JOIN LATERAL (SELECT u.oid UNION ALL SELECT p.relid::oid FROM pg_catalog.pg_partition_tree(u.oid::regclass) AS p) AS t(oid)
),
-- Everything reached from the relations along pg_depend: what an object needs, and the parts that it owns.
-- Of a member of an extension only the extension matters; other tables are not walked into.
node (classid, objid) AS (
    SELECT 'pg_class'::regclass::oid, oid FROM listed
  UNION
    SELECT e.classid, e.objid
    FROM node AS n
    CROSS JOIN LATERAL (
        SELECT d.refclassid AS classid, d.refobjid AS objid
        FROM (SELECT EXISTS (SELECT FROM pg_depend AS m WHERE m.classid = n.classid AND m.objid = n.objid AND m.deptype = 'e') AS is_member OFFSET 0) AS x
        CROSS JOIN pg_depend AS d
        LEFT JOIN pg_class AS c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid
        WHERE d.classid = n.classid AND d.objid = n.objid AND (d.deptype = 'e' OR NOT x.is_member)
          AND d.refclassid NOT IN ('pg_constraint'::regclass, 'pg_trigger'::regclass, 'pg_namespace'::regclass, 'pg_policy'::regclass)
          AND (d.refclassid <> 'pg_class'::regclass OR c.relkind IN ('S', 'c'))
      UNION ALL
        SELECT d.classid, d.objid
        FROM pg_depend AS d
        LEFT JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
        WHERE d.refclassid = n.classid AND d.refobjid = n.objid AND d.deptype IN ('a', 'i')
          AND (d.classid IN ('pg_attrdef'::regclass, 'pg_constraint'::regclass, 'pg_trigger'::regclass, 'pg_policy'::regclass,
                             'pg_rewrite'::regclass, 'pg_statistic_ext'::regclass)
               OR c.relkind IN ('S', 'i', 'I', 'c'))
        OFFSET 0
    ) AS e
)
SELECT 'sequence_value' AS section, row_number() OVER (ORDER BY q.name) AS ordinal, q.name AS object,
       format('SELECT pg_catalog.setval(%L, %s, %s)', q.name, split_part(v.word, ':', 1), split_part(v.word, ':', 2)) AS statement
FROM (SELECT DISTINCT c.oid, format('%I.%I', s.nspname, c.relname) AS name
      FROM node AS n JOIN pg_class AS c ON n.classid = 'pg_class'::regclass AND c.oid = n.objid AND c.relkind = 'S'
      JOIN pg_namespace AS s ON s.oid = c.relnamespace OFFSET 0) AS q
CROSS JOIN LATERAL ts_stat(format('SELECT array_to_tsvector(ARRAY[last_value || '':'' || is_called]) FROM %s', q.name)) AS v
ORDER BY 2
