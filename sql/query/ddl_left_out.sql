-- What was seen at the relations of $1 (oid[]) and is not in the DDL that the other queries rebuild.
-- Rows: object, reason. Read under search_path = ''.
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
),
rel AS MATERIALIZED (
    SELECT c.*, format('%I.%I', n.nspname, c.relname) AS name
    FROM listed AS l JOIN pg_class AS c ON c.oid = l.oid JOIN pg_namespace AS n ON n.oid = c.relnamespace
),
outer_node AS MATERIALIZED (
    SELECT n.classid, n.objid FROM node AS n
    WHERE NOT EXISTS (SELECT FROM pg_depend AS m WHERE m.classid = n.classid AND m.objid = n.objid AND m.deptype = 'e')
)
SELECT object, reason FROM (
    SELECT name AS object, CASE relpersistence WHEN 't' THEN 'a temporary table is not reproduced' ELSE format('a relation of kind "%s" is not reproduced', relkind) END AS reason
    FROM rel WHERE relpersistence = 't' OR relkind NOT IN ('r', 'p', 'f', 'v', 'm')
    UNION ALL
    SELECT r.name, format('tablespace "%s" is left to the target''s default', t.spcname)
    FROM rel AS r JOIN pg_tablespace AS t ON t.oid = r.reltablespace
    UNION ALL
    SELECT format('%I.%I', n.nspname, c.relname), format('tablespace "%s" of the index is left to the target''s default', t.spcname)
    FROM rel AS r JOIN pg_index AS i ON i.indrelid = r.oid JOIN pg_class AS c ON c.oid = i.indexrelid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_tablespace AS t ON t.oid = c.reltablespace
    UNION ALL
    SELECT format('%I.%I', n.nspname, c.relname), 'the index is invalid'
    FROM rel AS r JOIN pg_index AS i ON i.indrelid = r.oid AND NOT i.indisvalid JOIN pg_class AS c ON c.oid = i.indexrelid AND c.relkind = 'i'
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    UNION ALL
    SELECT r.name, format('%s "%s.%s" is outside the list; its columns are written out and the link is left out',
                          CASE WHEN r.relispartition THEN 'partitioned table' ELSE 'parent table' END, n.nspname, p.relname)
    FROM rel AS r JOIN pg_inherits AS i ON i.inhrelid = r.oid JOIN pg_class AS p ON p.oid = i.inhparent JOIN pg_namespace AS n ON n.oid = p.relnamespace
    WHERE NOT EXISTS (SELECT FROM listed AS l WHERE l.oid = p.oid)
    UNION ALL
    SELECT r.name, format('child table "%s.%s" is outside the list', n.nspname, p.relname)
    FROM rel AS r JOIN pg_inherits AS i ON i.inhparent = r.oid JOIN pg_class AS p ON p.oid = i.inhrelid JOIN pg_namespace AS n ON n.oid = p.relnamespace
    WHERE NOT EXISTS (SELECT FROM listed AS l WHERE l.oid = p.oid)
    UNION ALL
    SELECT r.name, format('foreign key "%s" names "%s.%s", which is outside the list; it is added only where that table exists', k.conname, n.nspname, p.relname)
    FROM rel AS r JOIN pg_constraint AS k ON k.conrelid = r.oid AND k.contype = 'f' AND k.conparentid = 0
    JOIN pg_class AS p ON p.oid = k.confrelid JOIN pg_namespace AS n ON n.oid = p.relnamespace
    WHERE NOT EXISTS (SELECT FROM listed AS l WHERE l.oid = p.oid)
    UNION ALL
    SELECT DISTINCT r.name, format('%s "%s" reads "%s.%s", which is outside the list; its statement fails where that is missing', w.kind, w.name, n.nspname, p.relname)
    FROM rel AS r
    CROSS JOIN LATERAL (SELECT 'policy' AS kind, x.polname AS name, 'pg_policy'::regclass::oid AS classid, x.oid FROM pg_policy AS x WHERE x.polrelid = r.oid
                        UNION ALL
                        SELECT 'rule', x.rulename, 'pg_rewrite'::regclass, x.oid FROM pg_rewrite AS x WHERE x.ev_class = r.oid
                        OFFSET 0) AS w
    CROSS JOIN LATERAL (SELECT x.refobjid FROM pg_depend AS x WHERE x.classid = w.classid AND x.objid = w.oid AND x.refclassid = 'pg_class'::regclass OFFSET 0) AS d
    JOIN pg_class AS p ON p.oid = d.refobjid AND p.relkind IN ('r', 'p', 'f', 'v', 'm') JOIN pg_namespace AS n ON n.oid = p.relnamespace
    WHERE NOT EXISTS (SELECT FROM listed AS l WHERE l.oid = p.oid)
    UNION ALL
    SELECT DISTINCT r.name, format('foreign server "%s", its user mappings and its data wrapper must exist on the target', s.srvname)
    FROM rel AS r JOIN pg_foreign_table AS f ON f.ftrelid = r.oid JOIN pg_foreign_server AS s ON s.oid = f.ftserver
    UNION ALL
    SELECT r.name, format('column "%s" may hold references to large objects, which are not copied', a.attname)
    FROM rel AS r JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type AS t ON t.oid = a.atttypid
    WHERE r.relkind IN ('r', 'p', 'f') AND (a.atttypid = 'oid'::regtype OR t.typtype = 'd' AND t.typbasetype = 'oid'::regtype)
    UNION ALL
    SELECT r.name, format('membership of publication "%s"', p.pubname)
    FROM rel AS r JOIN pg_publication_rel AS m ON m.prrelid = r.oid JOIN pg_publication AS p ON p.oid = m.prpubid
    UNION ALL
    SELECT r.name, format('security label of provider "%s"', s.provider)
    FROM rel AS r JOIN pg_seclabel AS s ON s.classoid = 'pg_class'::regclass AND s.objoid = r.oid
    UNION ALL
    SELECT DISTINCT r.name, 'a privilege was granted by another role than the owner; the owner grants it on the target'
    FROM rel AS r CROSS JOIN LATERAL aclexplode(r.relacl) AS a WHERE a.grantor <> r.relowner
    UNION ALL
    SELECT 'database', format('event trigger "%s"', e.evtname) FROM pg_event_trigger AS e
    UNION ALL
    SELECT pg_describe_object(n.classid, n.objid, 0), 'what the body calls is not followed, since the catalogue does not record it'
    FROM outer_node AS n CROSS JOIN LATERAL (SELECT * FROM pg_proc AS x WHERE n.classid = 'pg_proc'::regclass AND x.oid = n.objid OFFSET 0) AS p
    WHERE p.prosqlbody IS NULL AND p.prokind <> 'a' AND NOT EXISTS (
        SELECT FROM pg_depend AS d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i')
    UNION ALL
    SELECT pg_describe_object(n.classid, n.objid, 0), 'an object of this kind is needed by the relations and not reproduced'
    FROM outer_node AS n
    LEFT JOIN LATERAL (SELECT x.prokind FROM pg_proc AS x WHERE n.classid = 'pg_proc'::regclass AND x.oid = n.objid OFFSET 0) AS p ON true
    LEFT JOIN pg_type AS t ON n.classid = 'pg_type'::regclass AND t.oid = n.objid
    LEFT JOIN pg_range AS g ON g.rngtypid = t.oid
    WHERE p.prokind = 'a' OR g.rngcanonical <> 0 OR t.typtype = 'b' AND t.typelem = 0
       OR n.classid IN ('pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass, 'pg_am'::regclass, 'pg_cast'::regclass,
                        'pg_conversion'::regclass, 'pg_ts_config'::regclass, 'pg_ts_dict'::regclass, 'pg_transform'::regclass)
       OR n.classid = 'pg_language'::regclass AND n.objid >= 16384
    UNION ALL
    SELECT pg_describe_object(n.classid, n.objid, 0), format('it uses the row type of "%s", which is outside the list', c.oid::regclass)
    FROM (SELECT classid, objid FROM outer_node UNION SELECT 'pg_class'::regclass, oid FROM listed) AS n
    JOIN pg_depend AS d ON d.classid = n.classid AND d.objid = n.objid AND d.refclassid = 'pg_type'::regclass
    JOIN pg_type AS b ON b.oid = d.refobjid
    JOIN pg_type AS t ON t.oid = CASE WHEN b.typelem <> 0 THEN b.typelem ELSE b.oid END
    JOIN pg_class AS c ON c.oid = t.typrelid AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
    WHERE NOT EXISTS (SELECT FROM listed AS l WHERE l.oid = c.oid) AND n.classid <> 'pg_type'::regclass
) AS o
ORDER BY 1, 2
