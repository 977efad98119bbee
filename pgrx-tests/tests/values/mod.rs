//! Values of every built-in type, in the form of its input; one that begins with `=` is an SQL expression.

use agent_backup_suite::has_xml;
use postgres::Client;

/// A type of pg_catalog, and values for it.
pub const VALUES: &[(&str, &[&str])] = &[
    ("aclitem", &["postgres=arwdDxt/postgres", "='=r/postgres'::text", "postgres=a*r*/postgres"]),
    ("bit", &["", "0", "1", "101010101", "=repeat('10', 500)::varbit"]),
    ("bool", &["t", "f"]),
    ("box", &["(1,2),(3,4)", "(Infinity,-Infinity),(NaN,1e308)", "(-0,0),(0,-0)"]),
    ("bpchar", &["", " ", "a ", "  b", "NULL", "é\t"]),
    (
        "bytea",
        &[
            "",
            "\\x00",
            "\\xdeadbeef00ff",
            "\\\\",
            "=convert_to('\"'',;', 'UTF8')",
            "=decode(repeat('00ff5c22', 3000), 'hex')",
        ],
    ),
    ("char", &["", "a", "\"", "\\", ",", "=(-1)::\"char\"", "=(-128)::\"char\"", "=0::\"char\""]),
    ("cid", &["0", "4294967295"]),
    ("cidr", &["10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32", "::/0", "::ffff:1.2.3.0/120"]),
    ("circle", &["<(0,0),1>", "<(-0,NaN),Infinity>", "<(1e-310,1e308),0.1>"]),
    (
        "date",
        &[
            "infinity",
            "-infinity",
            "4713-01-01 BC",
            "0001-12-31 BC",
            "0001-01-01",
            "5874897-12-31",
            "2000-02-29",
            "1999-12-31",
        ],
    ),
    ("datemultirange", &["{}", "{(,2000-01-01),[2001-01-01,infinity)}", "{[4713-01-01 BC,0001-01-01)}"]),
    (
        "daterange",
        &["empty", "(,)", "[-infinity,infinity]", "[4713-01-01 BC,5874897-12-31)", "[2024-02-29,2024-03-01]"],
    ),
    (
        "float4",
        &[
            "0",
            "-0",
            "NaN",
            "Infinity",
            "-Infinity",
            "3.4028235e38",
            "1.1754944e-38",
            "1e-45",
            "0.1",
            "1e15",
            "1e16",
            "123456.7",
            "16777216",
        ],
    ),
    (
        "float8",
        &[
            "0",
            "-0",
            "NaN",
            "Infinity",
            "-Infinity",
            "1.7976931348623157e308",
            "2.2250738585072014e-308",
            "5e-324",
            "0.1",
            "0.30000000000000004",
            "1e14",
            "1e15",
            "1e16",
            "1e22",
            "1e23",
            "123456789012345680",
            "-1e-5",
            "0.0001",
            "9007199254740993",
        ],
    ),
    ("gtsvector", &[]),
    ("inet", &["127.0.0.1", "10.1.2.3/8", "::1", "2001:db8::1/64", "::ffff:1.2.3.4", "0.0.0.0/0"]),
    ("int2", &["0", "-1", "32767", "-32768"]),
    ("int2vector", &["", "1 2 3", "-32768 32767"]),
    ("int4", &["0", "-1", "9", "10", "99", "100", "2147483647", "-2147483648", "1000000000"]),
    ("int4multirange", &["{}", "{(,)}", "{[1,2),[5,9)}"]),
    ("int4range", &["empty", "(,)", "[1,2)", "[-2147483648,2147483647)", "(,5]"]),
    ("int8", &["0", "-1", "9223372036854775807", "-9223372036854775808", "4294967296", "10000000000"]),
    ("int8multirange", &["{}", "{[1,2),[9223372036854775800,)}"]),
    ("int8range", &["empty", "[-9223372036854775808,9223372036854775807)"]),
    (
        "interval",
        &[
            "0",
            "-1 day +02:03:04",
            "1 year -1 mon",
            "-1 year -2 mon +3 days -04:05:06.789",
            "178000000 years",
            "-178000000 years",
            "2147483647 days",
            "2562047788:00:54.775807",
            "-00:00:00.000001",
            "1 mon 1 day 1 microsecond",
            "13 months -00:01",
        ],
    ),
    (
        "json",
        &[
            "null",
            "1",
            "-0.0e-10",
            "\"\"",
            "[]",
            "{}",
            "[ 1 , 2 ]",
            "{\"a\":1,\"a\":2}",
            "{\"b\": \"\\u0000\\ud800 \\/\", \"é😀\": [true,\n\tfalse, null]}",
            "\"it's \\\"x\\\", \\\\.\"",
            "=('[' || repeat('[1,', 300) || '1' || repeat(']', 301))::json",
            "100000000000000000000000000000000000000000.5",
        ],
    ),
    (
        "jsonb",
        &[
            "null",
            "1",
            "-0.0",
            "1e-10",
            "1e1000",
            "1.50",
            "\"\"",
            "[]",
            "{}",
            "[[], {}, null, true, false]",
            "{\"b\": 1, \"aa\": {\"c\": [\"é😀\", \"\\u0001\\b\\f\\n\\r\\t\\\\\\\"/\"]}}",
            "{\"\": \"\"}",
            "\"it's, \\\\.\"",
            "=('[' || repeat('[1,', 300) || '1' || repeat(']', 301))::jsonb",
            "100000000000000000000000000000000000000000.5",
            "=(SELECT jsonb_object_agg('key ' || n, repeat('v', n)) FROM generate_series(0, 300) n)",
        ],
    ),
    (
        "jsonpath",
        &["$", "strict $.\"a b\"[*] ? (@ > 1.5 && @.c like_regex \"^\\\"x\" flag \"i\")", "$.**{2 to last}.size()"],
    ),
    ("line", &["{1,2,3}", "{-0.1,1e-310,1e300}"]),
    ("lseg", &["[(1,2),(3,4)]", "[(-0,Infinity),(NaN,0.1)]"]),
    ("macaddr", &["08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff"]),
    ("macaddr8", &["08:00:2b:ff:fe:01:02:03", "00:00:00:00:00:00:00:00"]),
    ("money", &["0", "-0.01", "92233720368547758.07", "-92233720368547758.08", "1234567.89"]),
    ("name", &["", "a\"b", "a'b, c", "=repeat('é', 31)::name", "=repeat('x', 63)::name"]),
    (
        "numeric",
        &[
            "0",
            "-0",
            "0.000",
            "1",
            "-1",
            "1.0",
            "1.00",
            "NaN",
            "Infinity",
            "-Infinity",
            "9999",
            "10000",
            "10001",
            "0.0001",
            "0.00001",
            "1e-16383",
            "=repeat('9', 1000)::numeric",
            "=('-' || repeat('12345678', 100) || '.' || repeat('09', 500))::numeric",
            "=1e131071",
            "123456789.987654321",
            "1000000000000",
            "99990000",
        ],
    ),
    ("nummultirange", &["{}", "{(,-1.5),[0.10,NaN]}"]),
    ("numrange", &["empty", "(,)", "[1.10,1.100]", "(-Infinity,Infinity)", "[0,NaN]"]),
    ("oid", &["0", "1", "4294967295", "2147483648"]),
    ("oidvector", &["", "0 4294967295 7"]),
    ("path", &["[(0,0)]", "((0,0),(1,1))", "[(-0,1e-310),(NaN,Infinity)]"]),
    ("pg_brin_bloom_summary", &[]),
    ("pg_brin_minmax_multi_summary", &[]),
    (
        "pg_dependencies",
        &["=(SELECT stxddependencies FROM pg_statistic_ext_data WHERE stxddependencies IS NOT NULL LIMIT 1)"],
    ),
    ("pg_lsn", &["0/0", "FFFFFFFF/FFFFFFFF", "16/B374D848"]),
    ("pg_mcv_list", &["=(SELECT stxdmcv FROM pg_statistic_ext_data WHERE stxdmcv IS NOT NULL LIMIT 1)"]),
    ("pg_ndistinct", &["=(SELECT stxdndistinct FROM pg_statistic_ext_data WHERE stxdndistinct IS NOT NULL LIMIT 1)"]),
    (
        "pg_node_tree",
        &[
            "=(SELECT ev_action FROM pg_rewrite WHERE ev_class = 'pg_views'::regclass)",
            "=(SELECT ev_qual FROM pg_rewrite LIMIT 1)",
        ],
    ),
    ("pg_snapshot", &["1:1:", "10:20:10,14,15", "1:9223372036854775807:"]),
    ("point", &["(0,0)", "(-0,NaN)", "(Infinity,-Infinity)", "(5e-324,0.30000000000000004)"]),
    ("polygon", &["((0,0))", "((0,0),(1,1),(1,-0))", "((NaN,1e-310),(Infinity,0.1))"]),
    ("refcursor", &["", "it's \"x\", \\."]),
    ("regclass", &["pg_class", "=0::regclass", "=4294967290::regclass", "='types'::regnamespace::oid::regclass"]),
    ("regcollation", &["-", "\"C\"", "4294967290"]),
    ("regconfig", &["english", "4294967290", "0"]),
    ("regdictionary", &["simple", "4294967290", "0"]),
    ("regnamespace", &["pg_catalog", "types", "4294967290", "-"]),
    ("regoper", &["0", "pg_catalog.||/", "4294967290"]),
    ("regoperator", &["0", "+(integer,integer)", "-(NONE,integer)", "4294967290"]),
    ("regproc", &["-", "pg_backend_pid", "4294967290"]),
    ("regprocedure", &["-", "sum(integer)", "pg_catalog.now()", "4294967290"]),
    ("regrole", &["-", "postgres", "4294967290"]),
    ("regtype", &["-", "integer", "timestamp with time zone", "\"char\"", "4294967290", "text[]"]),
    (
        "text",
        &[
            "",
            " ",
            "a",
            "NULL",
            "null",
            "\\N",
            "\\.",
            "\\",
            "\"",
            "'",
            ",",
            ";",
            "\n",
            "\r",
            "\r\n",
            "\t",
            "\u{b}\u{8}\u{c}\u{1}\u{7f}",
            "it's",
            "a\"b\"\"c",
            "{}",
            "{NULL}",
            "(,)",
            "$tag$ $$ :var",
            "\u{feff}bom",
            "\\x00",
            "\\u0000",
            "é ü ß",
            "日本語",
            "😀👨‍👩‍👧",
            "\u{202e}rtl",
            "e\u{301}",
            "\u{85}\u{2028}\u{2029}",
            "\u{10ffff}",
            "\\! touch /tmp/never",
            "a\n\\! touch /tmp/never\n\\.\n\\q\n",
            "-- x\n; DROP TABLE x;",
            "=repeat('x', 10000)",
            "=repeat('é\"\\', 5000)",
            "1234567,",
            "12345678\"",
            "1234567\\",
            "trailing ",
        ],
    ),
    ("tid", &["(0,0)", "(4294967295,65535)"]),
    ("time", &["00:00", "24:00", "23:59:59.999999", "12:34:56.7"]),
    (
        "timestamp",
        &[
            "infinity",
            "-infinity",
            "4713-01-01 00:00:00 BC",
            "0001-12-31 23:59:59.999999 BC",
            "0001-01-01",
            "294276-12-31 23:59:59.999999",
            "2000-01-01",
            "1999-12-31 23:59:59.999999",
            "2024-03-31 02:30",
            "2024-02-29 12:00:00.1",
            "10000-01-01 00:00:00.000001",
        ],
    ),
    (
        "timestamptz",
        &[
            "infinity",
            "-infinity",
            "4713-01-02 00:00:00+00 BC",
            "0001-01-01 00:00+00",
            "294276-12-31 23:59:59.999999+00",
            "2024-03-31 02:30 Europe/Berlin",
            "2024-10-27 02:30 Europe/Berlin",
            "1883-11-18 12:03:58 America/New_York",
            "1999-12-31 23:59:59.999999-12",
            "2000-01-01+15:59",
            "2016-12-31 23:59:60+00",
        ],
    ),
    ("timetz", &["00:00+00", "24:00+15:59:59", "24:00-15:59", "12:34:56.789-03:30", "23:59:59.999999+00:00:01"]),
    ("tsmultirange", &["{}", "{[\"2000-01-01 00:00:00\",infinity)}"]),
    ("tsquery", &["", "'it''s' & !b <-> c:*AB | 'x y'", "'\\\\'"]),
    ("tsrange", &["empty", "[-infinity,infinity]", "(\"4713-01-01 00:00:00 BC\",\"2024-03-31 02:30:00\"]"]),
    ("tstzmultirange", &["{}", "{(,\"2024-03-31 02:30:00+01\"),[infinity,]}"]),
    ("tstzrange", &["empty", "(,)", "[\"2024-03-31 02:30:00+01\",infinity)"]),
    ("tsvector", &["", "'a':1A,2 'it''s':16383D 'x\"y' '\\\\'", "é😀:3B"]),
    ("txid_snapshot", &["1:1:", "10:20:10,14,15"]),
    (
        "uuid",
        &[
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ],
    ),
    ("varbit", &["", "0", "1", "1010101", "11111111", "111111111"]),
    ("varchar", &["", "a ", "é,\"", "\\.", "NULL", "=repeat('y', 3000)"]),
    ("xid", &["0", "4294967295"]),
    ("xid8", &["0", "18446744073709551615"]),
    (
        "xml",
        &[
            "",
            "<a b=\"1\">é &amp; 😀</a>",
            "text, \"only\"\n",
            "<?xml version=\"1.0\" encoding=\"LATIN1\"?><a/>",
            "<!-- x --><a/>",
            "<![CDATA[ ]]>",
        ],
    ),
];

/// A name of any type as SQL, with no modifier.
pub fn quoted(name: &str) -> String {
    format!("pg_catalog.\"{name}\"")
}

/// A value of the list as an expression of the type.
fn expression(value: &str, sql_type: &str) -> String {
    match value.strip_prefix('=') {
        Some(expression) => format!("({expression})::{sql_type}"),
        None => format!("E'{}'::text::{sql_type}", value.replace('\\', "\\\\").replace('\'', "''")),
    }
}

/// Makes `types."t_<name>"` with a row per value: the value itself, in a domain, in arrays with NULLs, bounds and two
/// dimensions, in arrays of domains and domains of arrays, in a composite, in arrays of composites, all of them at once.
pub fn make_table(client: &mut Client, name: &str, sql_type: &str, values: &[&str]) -> String {
    // Of an int2vector or oidvector, ARRAY[…] makes something else.
    let has_array: bool = client
        .query_one(
            "SELECT typarray <> 0 AND typname !~ 'vector$|^gts' FROM pg_type WHERE oid = to_regtype($1)",
            &[&sql_type],
        )
        .unwrap_or_else(|error| panic!("{name}: {error:?}"))
        .get(0);
    let (domain, composite, domain_of_array) =
        (format!("types.\"d_{name}\""), format!("types.\"c_{name}\""), format!("types.\"ad_{name}\""));
    let values = if name == "xml" && !has_xml(client) { &[] } else { values };
    let mut rows: Vec<String> = values.iter().map(|value| format!("({})", expression(value, sql_type))).collect();
    rows.push(format!("(NULL::{sql_type})"));
    let table = format!("types.\"t_{name}\"");
    let mut script = format!(
        "CREATE DOMAIN {domain} AS {sql_type}; CREATE TYPE {composite} AS (v {sql_type}, n int, d {domain}, t text);
         CREATE TABLE {table} (id int, v {sql_type}, d {domain}, c {composite}, cc {composite}[]);
         INSERT INTO {table} SELECT n, v, v, ROW(v, n, v, 'a \"b\\,(')::{composite}, ARRAY[ROW(v, n, NULL, E'\\n')::{composite}, NULL]
             FROM (SELECT v, row_number() OVER ()::int FROM (VALUES {}) AS listed(v)) AS source(v, n);
         INSERT INTO {table} (id) VALUES (NULL); INSERT INTO {table} (id, c, cc) VALUES (0, ROW(NULL, NULL, NULL, ''), '{{}}');",
        rows.join(", ")
    );
    if has_array {
        script.push_str(&format!(
            "CREATE DOMAIN {domain_of_array} AS {sql_type}[];
             ALTER TABLE {table} ADD a {sql_type}[], ADD b {sql_type}[], ADD aa {sql_type}[], ADD da {domain}[], ADD ad {domain_of_array};
             UPDATE {table} SET a = ARRAY[v, NULL, v]::{sql_type}[], b = ('[-1:1]=' || ARRAY[v, NULL, v]::text)::{sql_type}[],
                 aa = ARRAY[ARRAY[v, NULL], ARRAY[v, v]]::{sql_type}[], da = ARRAY[v, NULL, v]::{domain}[],
                 ad = ('[0:0][5:6]=' || ARRAY[ARRAY[v, v]]::text)::{domain_of_array} WHERE v IS NOT NULL;
             UPDATE {table} SET a = '{{}}', b = '{{NULL}}', aa = ARRAY[ARRAY[v, v], ARRAY[v, v]]::{sql_type}[], ad = '{{}}' WHERE id = 0;
             INSERT INTO {table} (id, a) SELECT -1, array_agg(v) FROM {table};"
        ));
    }
    client.batch_execute(&script).unwrap_or_else(|error| panic!("{name}: {error:?}\n{script}"));
    table
}
