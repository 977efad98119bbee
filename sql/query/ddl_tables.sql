-- The relations of $1 (oid[]) and their partitions, with all that hangs on them except data and sequence values.
-- Rows: section, ordinal, object, statement (without the semicolon). Read under search_path = ''.
-- The order of sections is in ddl_order.md; relations keep the caller's order as far as inheritance and views allow.
WITH RECURSIVE
listed AS MATERIALIZED (
    SELECT t.oid, min(u.ord * 1000000 + t.n) AS ord
    FROM pg_catalog.unnest($1::oid[]) WITH ORDINALITY AS u(oid, ord)
    CROSS JOIN LATERAL (SELECT u.oid, 0 UNION ALL
                        SELECT p.relid::oid, p.n FROM pg_catalog.pg_partition_tree(u.oid::regclass) WITH ORDINALITY AS p(relid, parentrelid, isleaf, level, n)) AS t(oid, n)
    GROUP BY t.oid
),
link AS MATERIALIZED (
    SELECT i.inhrelid, i.inhparent, i.inhseqno
    FROM listed AS l JOIN pg_inherits AS i ON i.inhrelid = l.oid JOIN listed AS m ON m.oid = i.inhparent
),
-- What must exist before a relation: its parents, the tables whose row type it uses, the relations that a view reads.
need AS MATERIALIZED (
    SELECT inhrelid AS oid, inhparent AS ref FROM link
    UNION
    SELECT l.oid, t.typrelid
    FROM listed AS l
    CROSS JOIN LATERAL (SELECT x.refobjid FROM pg_depend AS x WHERE x.classid = 'pg_class'::regclass AND x.objid = l.oid AND x.refclassid = 'pg_type'::regclass OFFSET 0) AS d
    JOIN pg_type AS b ON b.oid = d.refobjid
    JOIN pg_type AS t ON t.oid = CASE WHEN b.typelem <> 0 THEN b.typelem ELSE b.oid END
    JOIN listed AS m ON m.oid = t.typrelid AND m.oid <> l.oid
    UNION
    SELECT l.oid, m.oid
    FROM listed AS l
    JOIN pg_rewrite AS w ON w.ev_class = l.oid AND w.rulename = '_RETURN'
    CROSS JOIN LATERAL (SELECT x.refobjid FROM pg_depend AS x WHERE x.classid = 'pg_rewrite'::regclass AND x.objid = w.oid AND x.refclassid = 'pg_class'::regclass OFFSET 0) AS d
    JOIN listed AS m ON m.oid = d.refobjid AND m.oid <> l.oid
),
deep (oid, depth) AS (
    SELECT oid, 0 FROM listed
  UNION
    SELECT n.oid, d.depth + 1 FROM deep AS d JOIN need AS n ON n.ref = d.oid WHERE d.depth < 100
),
rel AS MATERIALIZED (
    SELECT c.oid, c.relname, c.relnamespace, c.relkind, c.relpersistence, c.relowner, c.relacl, c.reloptions, c.relam, c.reloftype, c.reltoastrelid,
           c.relispopulated, c.relispartition, c.relrowsecurity, c.relforcerowsecurity, c.relreplident, c.relpartbound,
           format('%I.%I', n.nspname, c.relname) AS name,
           row_number() OVER (ORDER BY (SELECT max(d.depth) FROM deep AS d WHERE d.oid = l.oid), l.ord) AS pos,
           CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END AS word,
           c.relkind IN ('r', 'p', 'f') AS is_table
    FROM listed AS l CROSS JOIN LATERAL (SELECT * FROM pg_class AS x WHERE x.oid = l.oid OFFSET 0) AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND c.relpersistence <> 't'
),
col AS MATERIALIZED (
    SELECT r.oid, r.pos, r.name AS table_name, a.attnum, a.attname, quote_ident(a.attname) AS name, a.attislocal, a.attidentity, a.attgenerated, a.attnotnull,
           a.attstorage, a.attcompression, a.attoptions, a.attstattarget, a.attacl, a.attfdwoptions, t.typstorage, r.relispartition, r.reloftype, r.relkind,
           format_type(a.atttypid, a.atttypmod) AS type,
           CASE WHEN a.attcollation <> t.typcollation
                THEN (SELECT format(' COLLATE %I.%I', n.nspname, k.collname) FROM pg_collation AS k JOIN pg_namespace AS n ON n.oid = k.collnamespace WHERE k.oid = a.attcollation)
                ELSE '' END AS collation,
           pg_get_expr(d.adbin, d.adrelid) AS expression,
           -- a default whose function needs a table comes after that function
           d.oid IS NOT NULL AND EXISTS (
                   SELECT FROM pg_depend AS f JOIN pg_depend AS g ON g.classid = f.refclassid AND g.objid = f.refobjid
                   LEFT JOIN pg_type AS y ON g.refclassid = 'pg_type'::regclass AND y.oid = g.refobjid
                   LEFT JOIN pg_class AS z ON z.oid = CASE g.refclassid WHEN 'pg_class'::regclass THEN g.refobjid WHEN 'pg_type'::regclass THEN y.typrelid END
                   WHERE f.classid = 'pg_attrdef'::regclass AND f.objid = d.oid AND f.refclassid = 'pg_proc'::regclass AND z.relkind IN ('r', 'p', 'f', 'v', 'm')) AS late,
           r.relispartition OR a.attislocal OR p.attnum IS NULL AS printed,
           p.attnotnull AS parent_notnull, p.expression AS parent_expression, p.attnum IS NOT NULL AS inherited
    FROM rel AS r
    CROSS JOIN LATERAL (SELECT * FROM pg_attribute AS x WHERE x.attrelid = r.oid AND x.attnum > 0 AND NOT x.attisdropped OFFSET 0) AS a
    JOIN pg_type AS t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    LEFT JOIN LATERAL (
        SELECT q.attnum, q.attnotnull, pg_get_expr(e.adbin, e.adrelid) AS expression
        FROM link AS i JOIN pg_attribute AS q ON q.attrelid = i.inhparent AND q.attname = a.attname AND NOT q.attisdropped
        LEFT JOIN pg_attrdef AS e ON e.adrelid = q.attrelid AND e.adnum = q.attnum
        WHERE i.inhrelid = r.oid ORDER BY i.inhseqno LIMIT 1) AS p ON true
    WHERE r.is_table
),
con AS MATERIALIZED (
    SELECT c.*, r.pos, r.name AS table_name, r.relname, r.relkind, r.relispartition AS in_partition, pg_get_constraintdef(c.oid) AS def
    FROM rel AS r CROSS JOIN LATERAL (SELECT * FROM pg_constraint AS x WHERE x.conrelid = r.oid OFFSET 0) AS c
    WHERE c.contype IN ('p', 'u', 'x', 'c', 'f', 'n')
),
required AS MATERIALIZED (
    SELECT c.conrelid, c.conkey[1] AS attnum, c.conislocal, c.convalidated, c.connoinherit,
           CASE WHEN c.conname = c.relname || '_' || k.attname || '_not_null' THEN '' ELSE format('CONSTRAINT %I ', c.conname) END AS label
    FROM con AS c JOIN col AS k ON k.oid = c.conrelid AND k.attnum = c.conkey[1]
    WHERE c.contype = 'n'
),
identity AS MATERIALIZED (
    SELECT d.refobjid AS oid, d.refobjsubid AS attnum,
           format('(SEQUENCE NAME %I.%I START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s%s)', n.nspname, c.relname,
                  s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END) AS options
    FROM rel AS r
    CROSS JOIN LATERAL (SELECT x.objid, x.refobjid, x.refobjsubid FROM pg_depend AS x
                        WHERE x.refclassid = 'pg_class'::regclass AND x.refobjid = r.oid AND x.refobjsubid > 0 AND x.classid = 'pg_class'::regclass AND x.deptype = 'i' OFFSET 0) AS d
    JOIN pg_sequence AS s ON s.seqrelid = d.objid
    JOIN pg_class AS c ON c.oid = d.objid JOIN pg_namespace AS n ON n.oid = c.relnamespace
),
line AS MATERIALIZED (
    SELECT c.oid, c.attnum, c.name || CASE WHEN c.reloftype <> 0 THEN ' WITH OPTIONS' ELSE ' ' || c.type || c.collation END
           || coalesce((SELECT ' OPTIONS (' || string_agg(format('%I %L', o.option_name, o.option_value), ', ' ORDER BY o.option_name) || ')' FROM pg_options_to_table(c.attfdwoptions) AS o), '')
           || x.value || x.required AS text,
           x.value || x.required AS extra
    FROM col AS c
    LEFT JOIN required AS n ON n.conrelid = c.oid AND n.attnum = c.attnum
    LEFT JOIN identity AS i ON i.oid = c.oid AND i.attnum = c.attnum
    CROSS JOIN LATERAL (SELECT
        CASE WHEN c.attgenerated <> '' THEN format(' GENERATED ALWAYS AS (%s) %s', c.expression, CASE c.attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END)
             WHEN i.options IS NOT NULL THEN format(' GENERATED %s AS IDENTITY %s', CASE c.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, i.options)
             WHEN c.expression IS NOT NULL AND NOT c.late THEN ' DEFAULT ' || c.expression
             ELSE '' END AS value,
        CASE WHEN NOT c.attnotnull THEN ''
             WHEN n.attnum IS NULL THEN ' NOT NULL'
             WHEN n.convalidated AND (n.conislocal OR c.relispartition OR NOT c.inherited) THEN ' ' || n.label || 'NOT NULL' || CASE WHEN n.connoinherit THEN ' NO INHERIT' ELSE '' END
             ELSE '' END AS required) AS x
    WHERE c.printed
),
body AS MATERIALIZED (
    SELECT oid, string_agg(E'\n    ' || text, ',' ORDER BY part, attnum) AS text
    FROM (SELECT l.oid, 1 AS part, l.attnum, l.text
          FROM line AS l JOIN rel AS r ON r.oid = l.oid
          WHERE r.reloftype = 0 OR l.extra <> ''
          UNION ALL
          SELECT c.oid, 2, c.attnum, format('%sNOT NULL %s%s', n.label, c.name, CASE WHEN n.connoinherit THEN ' NO INHERIT' ELSE '' END)
          FROM col AS c JOIN required AS n ON n.conrelid = c.oid AND n.attnum = c.attnum
          WHERE NOT c.printed AND n.conislocal AND n.convalidated) AS b
    GROUP BY oid
),
storage AS MATERIALIZED (
    SELECT o.oid, string_agg(format('%s=%L', o.prefix || quote_ident(split_part(o.opt, '=', 1)), substr(o.opt, strpos(o.opt, '=') + 1)), ', ' ORDER BY o.prefix, o.n) AS options
    FROM (SELECT r.oid, '' AS prefix, u.opt, u.n FROM rel AS r CROSS JOIN LATERAL unnest(r.reloptions) WITH ORDINALITY AS u(opt, n)
          UNION ALL
          SELECT r.oid, 'toast.', u.opt, u.n FROM rel AS r JOIN pg_class AS t ON t.oid = r.reltoastrelid
          CROSS JOIN LATERAL unnest(t.reloptions) WITH ORDINALITY AS u(opt, n)) AS o
    GROUP BY o.oid
),
idx AS MATERIALIZED (
    SELECT i.indexrelid AS oid, i.indrelid, i.indisclustered, i.indisreplident, i.indisvalid, r.pos, r.name AS table_name, r.relkind AS table_kind,
           c.relname, c.relkind, c.reloptions, format('%I.%I', n.nspname, c.relname) AS name,
           k.oid AS constraint_oid
    FROM rel AS r
    CROSS JOIN LATERAL (SELECT * FROM pg_index AS x WHERE x.indrelid = r.oid OFFSET 0) AS i
    JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN con AS k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')
    WHERE i.indisvalid OR c.relkind = 'I'
),
index_options AS MATERIALIZED (
    SELECT i.oid, string_agg(format('%I=%L', split_part(u.opt, '=', 1), substr(u.opt, strpos(u.opt, '=') + 1)), ', ' ORDER BY u.n) AS options
    FROM idx AS i CROSS JOIN LATERAL unnest(i.reloptions) WITH ORDINALITY AS u(opt, n) GROUP BY i.oid
),
trg AS MATERIALIZED (
    SELECT t.oid, t.tgname, t.tgenabled, t.tgparentid, p.tgenabled AS parent_enabled, r.pos, r.name AS table_name, r.is_table, r.word
    FROM rel AS r CROSS JOIN LATERAL (SELECT * FROM pg_trigger AS x WHERE x.tgrelid = r.oid AND NOT x.tgisinternal
         AND x.tgfoid <> 'agent_backup.capture()'::regprocedure OFFSET 0) AS t
    LEFT JOIN pg_trigger AS p ON p.oid = t.tgparentid
),
rul AS MATERIALIZED (
    SELECT w.oid, w.rulename, w.ev_enabled, r.pos, r.name AS table_name
    FROM rel AS r JOIN pg_rewrite AS w ON w.ev_class = r.oid AND w.rulename <> '_RETURN'
),
pol AS MATERIALIZED (
    SELECT p.*, r.pos, r.name AS table_name FROM rel AS r JOIN pg_policy AS p ON p.polrelid = r.oid
),
stx AS MATERIALIZED (
    SELECT s.oid, s.stxstattarget, s.stxowner, r.pos, format('%I.%I', n.nspname, s.stxname) AS name
    FROM rel AS r JOIN pg_statistic_ext AS s ON s.stxrelid = r.oid JOIN pg_namespace AS n ON n.oid = s.stxnamespace
),
granted AS MATERIALIZED (
    SELECT r.pos, 0 AS attnum, r.name, '' AS columns, r.relacl AS acl, acldefault('r', r.relowner) AS base, r.relowner AS owner FROM rel AS r WHERE r.relacl IS NOT NULL
    UNION ALL
    SELECT r.pos, a.attnum, r.name, '(' || quote_ident(a.attname) || ')', a.attacl, acldefault('c', r.relowner), r.relowner
    FROM rel AS r
    CROSS JOIN LATERAL (SELECT x.attnum, x.attname, x.attacl FROM pg_attribute AS x
                        WHERE x.attrelid = r.oid AND x.attnum > -100 AND NOT x.attisdropped AND x.attacl IS NOT NULL OFFSET 0) AS a
),
acl AS MATERIALIZED (
    SELECT g.pos, g.attnum, g.name, g.columns, a.is_now, a.privilege_type, a.is_grantable, a.n,
           CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee,
           cardinality(array(SELECT x.privilege_type FROM aclexplode(acldefault('r', g.owner)) AS x WHERE x.grantee = g.owner)) AS full_set
    FROM granted AS g
    CROSS JOIN LATERAL (
        (SELECT true AS is_now, x.grantee, x.privilege_type, x.is_grantable, x.n
         FROM aclexplode(g.acl) WITH ORDINALITY AS x(grantor, grantee, privilege_type, is_grantable, n)
         WHERE NOT EXISTS (SELECT FROM aclexplode(g.base) AS b
                           WHERE b.grantee = x.grantee AND b.privilege_type = x.privilege_type AND b.is_grantable >= x.is_grantable))
        UNION ALL
        (SELECT false, b.grantee, b.privilege_type, false, b.n
         FROM aclexplode(g.base) WITH ORDINALITY AS b(grantor, grantee, privilege_type, is_grantable, n)
         WHERE NOT EXISTS (SELECT FROM aclexplode(g.acl) AS x WHERE x.grantee = b.grantee AND x.privilege_type = b.privilege_type))) AS a
)
SELECT s.section, row_number() OVER (PARTITION BY s.section ORDER BY s.rank, s.pos, s.n, s.object, s.statement) AS ordinal, s.object, s.statement
FROM (
    -- tables
    SELECT 'table' AS section, 1 AS rank, r.pos, 0 AS n, r.name AS object,
           format('CREATE %s%s %s%s%s%s%s%s%s%s',
                  CASE r.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, CASE r.relkind WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, r.name,
                  CASE WHEN r.reloftype <> 0 THEN ' OF ' || format_type(r.reloftype, NULL) ELSE '' END,
                  CASE WHEN r.reloftype <> 0 AND b.text IS NULL THEN '' ELSE ' (' || coalesce(b.text, '') || E'\n)' END,
                  CASE WHEN r.relispartition THEN '' ELSE coalesce((
                      SELECT ' INHERITS (' || string_agg(p.name, ', ' ORDER BY l.inhseqno) || ')'
                      FROM link AS l JOIN rel AS p ON p.oid = l.inhparent WHERE l.inhrelid = r.oid), '') END,
                  CASE r.relkind WHEN 'p' THEN ' PARTITION BY ' || pg_get_partkeydef(r.oid) ELSE '' END,
                  coalesce((SELECT format(' USING %I', am.amname) FROM pg_am AS am WHERE am.oid = r.relam AND am.amname <> 'heap'), ''),
                  coalesce(' WITH (' || o.options || ')', ''),
                  (SELECT format(' SERVER %I', v.srvname)
                          || coalesce((SELECT ' OPTIONS (' || string_agg(format('%I %L', x.option_name, x.option_value), ', ' ORDER BY x.option_name) || ')'
                                       FROM pg_options_to_table(f.ftoptions) AS x), '')
                   FROM pg_foreign_table AS f JOIN pg_foreign_server AS v ON v.oid = f.ftserver WHERE f.ftrelid = r.oid)) AS statement
    FROM rel AS r LEFT JOIN body AS b ON b.oid = r.oid LEFT JOIN storage AS o ON o.oid = r.oid
    WHERE r.is_table
    UNION ALL
    SELECT 'table', 2, c.pos, c.attnum * 10 + v.n::int, c.table_name, format('ALTER TABLE ONLY %s ALTER COLUMN %s %s', c.table_name, c.name, v.change)
    FROM col AS c
    CROSS JOIN LATERAL unnest(ARRAY[
        CASE WHEN NOT c.printed AND c.attgenerated = '' AND c.attidentity = '' AND NOT c.late AND c.expression IS DISTINCT FROM c.parent_expression
             THEN coalesce('SET DEFAULT ' || c.expression, 'DROP DEFAULT') END,
        CASE WHEN NOT c.printed AND c.attnotnull AND NOT c.parent_notnull AND NOT EXISTS (SELECT FROM required AS n WHERE n.conrelid = c.oid AND n.attnum = c.attnum)
             THEN 'SET NOT NULL' END,
        CASE WHEN c.attstorage <> c.typstorage AND c.relkind <> 'f'
             THEN 'SET STORAGE ' || CASE c.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END END,
        CASE c.attcompression WHEN 'p' THEN 'SET COMPRESSION pglz' WHEN 'l' THEN 'SET COMPRESSION lz4' END,
        CASE WHEN c.attstattarget >= 0 THEN 'SET STATISTICS ' || c.attstattarget END,
        -- pg_attver is the server's own mark of a column's version, which security releases of 2026 keep there.
        (SELECT 'SET (' || string_agg(format('%I=%L', split_part(u.opt, '=', 1), substr(u.opt, strpos(u.opt, '=') + 1)), ', ' ORDER BY u.n) || ')'
           FROM unnest(c.attoptions) WITH ORDINALITY AS u(opt, n) WHERE split_part(u.opt, '=', 1) <> 'pg_attver')]) WITH ORDINALITY AS v(change, n)
    WHERE v.change IS NOT NULL
    UNION ALL
    SELECT 'table', 3, r.pos, 0, r.name, format('ALTER TABLE ONLY %s ATTACH PARTITION %s %s', p.name, r.name, pg_get_expr(r.relpartbound, r.oid))
    FROM rel AS r JOIN link AS l ON l.inhrelid = r.oid JOIN rel AS p ON p.oid = l.inhparent
    WHERE r.relispartition
    UNION ALL
    -- defaults that wait for a function, then constraints
    SELECT 'constraint', 0, c.pos, c.attnum, c.table_name, format('ALTER TABLE ONLY %s ALTER COLUMN %s SET DEFAULT %s', c.table_name, c.name, c.expression)
    FROM col AS c WHERE c.late AND c.attgenerated = '' AND (c.printed OR c.expression IS DISTINCT FROM c.parent_expression)
    UNION ALL
    SELECT 'constraint', CASE c.contype WHEN 'p' THEN 1 WHEN 'u' THEN 2 WHEN 'x' THEN 3 ELSE 4 END, c.pos, 0, c.table_name,
           format('ALTER TABLE %s%s ADD CONSTRAINT %I %s', CASE WHEN c.contype IN ('p', 'u', 'x') THEN 'ONLY ' ELSE '' END, c.table_name, c.conname,
                  CASE WHEN c.contype IN ('p', 'u') AND o.options IS NOT NULL
                       THEN left(c.def, length(c.def) - length(t.tail)) || format(' WITH (%s)', o.options) || t.tail
                       ELSE c.def END)
    FROM con AS c
    LEFT JOIN index_options AS o ON o.oid = c.conindid
    CROSS JOIN LATERAL (SELECT CASE WHEN c.condeferrable THEN ' DEFERRABLE' ELSE '' END || CASE WHEN c.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END AS tail) AS t
    WHERE c.contype IN ('p', 'u', 'x') OR c.contype = 'c' AND (c.conislocal OR NOT EXISTS (SELECT FROM link AS l WHERE l.inhrelid = c.conrelid))
       OR c.contype = 'n' AND NOT c.convalidated AND c.conislocal
    UNION ALL
    -- indexes, their links to the parents' indexes, and what is set on them
    SELECT 'index', 1, i.pos, 0, i.name, pg_get_indexdef(i.oid) FROM idx AS i WHERE i.constraint_oid IS NULL
    UNION ALL
    SELECT 'index', 2, i.pos, 0, i.name, format('ALTER INDEX %s SET (%s)', i.name, o.options)
    FROM idx AS i JOIN con AS c ON c.oid = i.constraint_oid AND c.contype = 'x' JOIN index_options AS o ON o.oid = i.oid
    UNION ALL
    SELECT 'index', 3, -i.pos, 0, i.name, format('ALTER INDEX %s ATTACH PARTITION %s', p.name, i.name)
    FROM idx AS i JOIN pg_inherits AS l ON l.inhrelid = i.oid JOIN idx AS p ON p.oid = l.inhparent
    UNION ALL
    SELECT 'index', 4, i.pos, a.attnum, i.name, format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS %s', i.name, a.attnum, a.attstattarget)
    FROM idx AS i
    CROSS JOIN LATERAL (SELECT x.attnum, x.attstattarget FROM pg_attribute AS x WHERE x.attrelid = i.oid AND x.attstattarget >= 0 OFFSET 0) AS a
    UNION ALL
    SELECT 'index', 5, i.pos, 0, i.name, format('ALTER %s %s CLUSTER ON %I', CASE i.table_kind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END, i.table_name, i.relname)
    FROM idx AS i WHERE i.indisclustered
    UNION ALL
    SELECT 'index', 6, r.pos, 0, r.name, format('ALTER %s %s REPLICA IDENTITY %s', CASE r.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE ONLY' END, r.name,
                  CASE r.relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING' ELSE 'USING INDEX ' || quote_ident(i.relname) END)
    FROM rel AS r LEFT JOIN idx AS i ON i.indrelid = r.oid AND i.indisreplident
    WHERE r.relkind IN ('r', 'p', 'm') AND (r.relreplident IN ('f', 'n') OR r.relreplident = 'i' AND i.oid IS NOT NULL)
    UNION ALL
    SELECT 'index', 7, s.pos, 0, s.name, pg_get_statisticsobjdef(s.oid) FROM stx AS s
    UNION ALL
    SELECT 'index', 8, s.pos, 0, s.name, format('ALTER STATISTICS %s SET STATISTICS %s', s.name, s.stxstattarget) FROM stx AS s WHERE s.stxstattarget >= 0
    UNION ALL
    -- foreign keys; one to a table outside the list is added only where that table exists
    SELECT 'foreign_key', CASE WHEN l.oid IS NULL THEN 2 ELSE 1 END, c.pos, 0, c.table_name,
           CASE WHEN l.oid IS NOT NULL THEN a.text
                ELSE 'DO ' || quote_literal(format(E'BEGIN IF pg_catalog.to_regclass(%L) IS NULL THEN RAISE WARNING %L; ELSE EXECUTE %L; END IF; END',
                                                   f.name, 'foreign key left out, since its table is missing: ' || replace(f.name, '%', '%%'), a.text)) END
    FROM con AS c
    CROSS JOIN LATERAL (SELECT format('ALTER TABLE %s%s ADD CONSTRAINT %I %s', CASE c.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END, c.table_name, c.conname, c.def)) AS a(text)
    CROSS JOIN LATERAL (SELECT format('%I.%I', n.nspname, t.relname) FROM pg_class AS t JOIN pg_namespace AS n ON n.oid = t.relnamespace WHERE t.oid = c.confrelid) AS f(name)
    LEFT JOIN listed AS l ON l.oid = c.confrelid
    WHERE c.contype = 'f' AND NOT EXISTS (SELECT FROM con AS p WHERE p.oid = c.conparentid)
    UNION ALL
    -- views
    SELECT 'view', 1, r.pos, 0, r.name,
           format('CREATE %s %s (%s)%s%s AS%s%s', r.word, r.name,
                  (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute AS a WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped),
                  coalesce((SELECT format(' USING %I', am.amname) FROM pg_am AS am WHERE am.oid = r.relam AND am.amname <> 'heap'), ''),
                  coalesce(' WITH (' || o.options || ')', ''), E'\n' || rtrim(pg_get_viewdef(r.oid), ';'), CASE r.relkind WHEN 'm' THEN E'\n  WITH NO DATA' ELSE '' END)
    FROM rel AS r LEFT JOIN storage AS o ON o.oid = r.oid
    WHERE r.relkind IN ('v', 'm')
    UNION ALL
    SELECT 'view', 2, r.pos, a.attnum, r.name, format('ALTER VIEW %s ALTER COLUMN %I SET DEFAULT %s', r.name, a.attname, pg_get_expr(d.adbin, d.adrelid))
    FROM rel AS r JOIN pg_attrdef AS d ON d.adrelid = r.oid JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum = d.adnum
    WHERE r.relkind = 'v'
    UNION ALL
    SELECT 'refresh', 1, r.pos, 0, r.name, 'REFRESH MATERIALIZED VIEW ' || r.name FROM rel AS r WHERE r.relkind = 'm' AND r.relispopulated
    UNION ALL
    -- rules and triggers, and whether they fire
    SELECT 'rule', 1, w.pos, 0, w.table_name, rtrim(pg_get_ruledef(w.oid), ';') FROM rul AS w
    UNION ALL
    SELECT 'rule', 2, w.pos, 0, w.table_name,
           format('ALTER TABLE %s %s RULE %I', w.table_name, CASE w.ev_enabled WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'DISABLE' END, w.rulename)
    FROM rul AS w WHERE w.ev_enabled <> 'O'
    UNION ALL
    SELECT 'trigger', 1, t.pos, 0, t.table_name, pg_get_triggerdef(t.oid) FROM trg AS t WHERE NOT EXISTS (SELECT FROM trg AS p WHERE p.oid = t.tgparentid)
    UNION ALL
    SELECT 'trigger', 2, t.pos, 0, t.table_name,
           format('ALTER TABLE %s %s TRIGGER %I', t.table_name,
                  CASE t.tgenabled WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' WHEN 'D' THEN 'DISABLE' ELSE 'ENABLE' END, t.tgname)
    FROM trg AS t WHERE t.is_table AND t.tgenabled <> coalesce(t.parent_enabled, 'O')
    UNION ALL
    -- row security
    SELECT 'policy', 1, p.pos, 0, p.table_name,
           format('CREATE POLICY %I ON %s%s%s TO %s%s%s', p.polname, p.table_name, CASE WHEN p.polpermissive THEN '' ELSE ' AS RESTRICTIVE' END,
                  ' FOR ' || CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
                  (SELECT string_agg(CASE u.role WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(u.role)) END, ', ' ORDER BY u.n)
                   FROM unnest(p.polroles) WITH ORDINALITY AS u(role, n)),
                  coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', ''), coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', ''))
    FROM pol AS p
    UNION ALL
    SELECT 'policy', 2, r.pos, v.n, r.name, format('ALTER TABLE ONLY %s %s ROW LEVEL SECURITY', r.name, v.word)
    FROM rel AS r CROSS JOIN LATERAL (VALUES (1, r.relrowsecurity, 'ENABLE'), (2, r.relforcerowsecurity, 'FORCE')) AS v(n, is_set, word)
    WHERE v.is_set
    UNION ALL
    -- comments
    SELECT 'comment', 20, r.pos, d.objsubid, r.name,
           CASE d.objsubid WHEN 0 THEN format('COMMENT ON %s %s IS %L', r.word, r.name, d.description)
                           ELSE format('COMMENT ON COLUMN %s.%I IS %L', r.name,
                                       (SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = r.oid AND a.attnum = d.objsubid), d.description) END
    FROM rel AS r
    CROSS JOIN LATERAL (SELECT x.objsubid, x.description FROM pg_description AS x WHERE x.objoid = r.oid AND x.classoid = 'pg_class'::regclass OFFSET 0) AS d
    UNION ALL
    SELECT 'comment', 21, o.pos, 0, o.table_name, format('COMMENT ON %s IS %L', o.target, d.description)
    FROM (SELECT 'pg_constraint'::regclass::oid AS classid, c.oid, c.pos, c.table_name, format('CONSTRAINT %I ON %s', c.conname, c.table_name) AS target
          FROM con AS c WHERE c.contype <> 'f' OR c.conparentid = 0
          UNION ALL SELECT 'pg_class'::regclass, i.oid, i.pos, i.table_name, 'INDEX ' || i.name FROM idx AS i
          UNION ALL SELECT 'pg_trigger'::regclass, t.oid, t.pos, t.table_name, format('TRIGGER %I ON %s', t.tgname, t.table_name) FROM trg AS t
          UNION ALL SELECT 'pg_policy'::regclass, p.oid, p.pos, p.table_name, format('POLICY %I ON %s', p.polname, p.table_name) FROM pol AS p
          UNION ALL SELECT 'pg_rewrite'::regclass, w.oid, w.pos, w.table_name, format('RULE %I ON %s', w.rulename, w.table_name) FROM rul AS w
          UNION ALL SELECT 'pg_statistic_ext'::regclass, s.oid, s.pos, s.name, 'STATISTICS ' || s.name FROM stx AS s) AS o
    CROSS JOIN LATERAL (SELECT x.description FROM pg_description AS x WHERE x.objoid = o.oid AND x.classoid = o.classid AND x.objsubid = 0 OFFSET 0) AS d
    UNION ALL
    -- owners and grants
    SELECT 'owner', 20, r.pos, 0, r.name, format('ALTER %s %s OWNER TO %I', r.word, r.name, pg_get_userbyid(r.relowner)) FROM rel AS r
    UNION ALL
    SELECT 'owner', 21, s.pos, 0, s.name, format('ALTER STATISTICS %s OWNER TO %I', s.name, pg_get_userbyid(s.stxowner)) FROM stx AS s
    UNION ALL
    SELECT 'grant', 20, a.pos, min(a.n)::int, a.name,
           format('REVOKE %s ON TABLE %s FROM %s', string_agg(a.privilege_type, ', ' ORDER BY a.n), a.name, a.grantee)
    FROM acl AS a WHERE NOT a.is_now GROUP BY a.pos, a.attnum, a.name, a.columns, a.grantee
    UNION ALL
    SELECT 'grant', 21, a.pos, a.attnum * 10000 + min(a.n)::int, a.name,
           format('GRANT %s ON TABLE %s TO %s%s', CASE WHEN a.attnum = 0 AND count(*) = min(a.full_set) THEN 'ALL' ELSE string_agg(a.privilege_type || a.columns, ', ' ORDER BY a.n) END,
                  a.name, a.grantee, CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM acl AS a WHERE a.is_now GROUP BY a.pos, a.attnum, a.name, a.columns, a.grantee, a.is_grantable
) AS s
ORDER BY 1, 2
