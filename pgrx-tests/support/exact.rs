//! Is an exported file what PostgreSQL itself writes? The reference is a second session under the documented settings.

use std::fs;
use std::io::Read;
use std::path::PathBuf;

use postgres::Client;

/// The settings that the documentation promises for all files, told here once more on purpose.
const PINNED: &str = "SET bytea_output = hex; SET DateStyle = 'ISO, MDY'; SET extra_float_digits = 3; SET IntervalStyle = postgres;
    SET lc_monetary = 'C'; SET quote_all_identifiers = off; SET row_security = off; SET search_path = ''; SET synchronize_seqscans = off;
    SET standard_conforming_strings = on; SET TimeZone = 'UTC'; SET xmlbinary = base64; SET xmloption = content; SET jit = off";

/// The digest of the rows in ROWS as its documentation gives it: the MD5 of each, summed modulo 2^128, in 32 hex digits.
const DIGEST: &str = "
    SELECT string_agg(lpad(to_hex(mod(div(total, power(2::numeric, 32 * part)), 4294967296)::bigint), 8, '0'), '' ORDER BY part DESC)
    FROM (SELECT mod(coalesce(sum(word * power(2::numeric, 32 * part)), 0), power(2::numeric, 128)) AS total
          FROM (SELECT part, sum(('x' || substr(hash, 25 - 8 * part, 8))::bit(32)::bigint) AS word
                FROM (SELECT md5(bytes) AS hash FROM (ROWS) AS rows(bytes) OFFSET 0) AS hashes, generate_series(0, 3) AS part GROUP BY part) AS words
         ) AS sum, generate_series(0, 3) AS part";

/// A file that `agent_backup.export_table` wrote.
pub struct Export {
    pub rows: i64,
    pub checksum: String,
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

/// Exports to the default place; the SQL error as it came.
pub fn try_export(client: &mut Client, table: &str, format: &str) -> Result<Export, postgres::Error> {
    let query =
        "SELECT row_count, checksum, export_file, size_bytes FROM agent_backup.export_table($1::text, $2::text)";
    let row = client.query_one(query, &[&table, &format])?;
    let path = PathBuf::from(row.get::<_, String>(2));
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(bytes.len() as i64, row.get::<_, i64>(3), "size_bytes of {table} in {format}");
    Ok(Export { rows: row.get(0), checksum: row.get(1), path, bytes })
}

/// Exports to the default place and returns the file.
#[track_caller]
pub fn export(client: &mut Client, table: &str, format: &str) -> Export {
    try_export(client, table, format).unwrap_or_else(|error| panic!("export of {table} as {format}: {error:?}"))
}

/// Sets the documented settings in a session of the test's own.
pub fn pin(client: &mut Client) {
    client.batch_execute(PINNED).expect("the settings");
}

/// Whether the server was built with XML; one without has the type, and no value of it.
pub fn has_xml(client: &mut Client) -> bool {
    client.batch_execute("SELECT xmlparse(CONTENT '<a/>')").is_ok()
}

/// What `COPY source TO … (FORMAT csv, HEADER, ENCODING encoding)` writes; `source` is a table or `(SELECT …)`.
#[track_caller]
pub fn copy_csv(reference: &mut Client, source: &str, encoding: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let copy = format!("COPY {source} TO STDOUT (FORMAT csv, HEADER, ENCODING '{encoding}')");
    let mut reader = reference.copy_out(&copy).unwrap_or_else(|error| panic!("{copy}: {error:?}"));
    reader.read_to_end(&mut bytes).unwrap_or_else(|error| panic!("{copy}: {error:?}"));
    bytes
}

/// The JSON file of what stands behind FROM, as an array of `row_to_json`, in the client's encoding.
#[track_caller]
pub fn json_array(reference: &mut Client, from: &str) -> Vec<u8> {
    // As bytes: in a UTF-8 database a "char" need not be UTF-8.
    let query = format!("SELECT textsend(row_to_json(t.*)::text) FROM {from} AS t");
    let rows = reference.query(&query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}"));
    let lines: Vec<&[u8]> = rows.iter().map(|row| row.get(0)).collect();
    if lines.is_empty() {
        return b"[\n]\n".to_vec();
    }
    [&b"[\n"[..], &lines.join(&b",\n"[..]), b"\n]\n"].concat()
}

/// The row digest of the JSON form, in SQL alone.
pub fn json_digest(reference: &mut Client, from: &str) -> String {
    let rows = format!("SELECT textsend(row_to_json(t.*)::text) FROM {from} AS t");
    reference.query_one(&DIGEST.replace("ROWS", &rows), &[]).expect("a digest").get(0)
}

/// The row digest of a CSV text, whose records are told apart by counting quotes.
pub fn csv_digest(reference: &mut Client, csv: &[u8]) -> String {
    let (mut records, mut start, mut quoted) = (Vec::new(), 0, false);
    for (at, byte) in csv.iter().enumerate() {
        quoted ^= *byte == b'"';
        if *byte == b'\n' && !quoted {
            records.push(&csv[start..at]);
            start = at + 1;
        }
    }
    let rows = &records[1..];
    reference.query_one(&DIGEST.replace("ROWS", "SELECT unnest($1::bytea[])"), &[&rows]).expect("a digest").get(0)
}

/// Exports `table` from `client` as CSV and JSON and compares bytes, row counts and digests with what the server writes in
/// the session `reference`; the number of rows. Where COPY takes no such table, `reads` says how it is read.
#[track_caller]
pub fn assert_exact(client: &mut Client, reference: &mut Client, table: &str, reads: Reads) -> i64 {
    let (source, from) = match reads {
        Reads::Table => (table.to_owned(), format!("ONLY {table}")),
        Reads::Query => (format!("(SELECT * FROM {table})"), table.to_owned()),
    };
    let rows: i64 = reference.query_one(&format!("SELECT count(*) FROM {from}"), &[]).expect("a count").get(0);
    let csv = export(client, table, "csv");
    assert_same_bytes(&format!("{table} as csv"), &csv.bytes, &copy_csv(reference, &source, "UTF8"));
    assert_eq!(csv.checksum, csv_digest(reference, &csv.bytes), "digest of {table} as csv");
    let json = export(client, table, "json");
    assert_same_bytes(&format!("{table} as json"), &json.bytes, &json_array(reference, &from));
    assert_eq!(json.checksum, json_digest(reference, &from), "digest of {table} as json");
    assert_eq!((csv.rows, json.rows), (rows, rows), "rows of {table}");
    rows
}

/// How the reference reads a relation.
#[derive(Clone, Copy)]
pub enum Reads {
    /// `COPY table` and `FROM ONLY table`.
    Table,
    /// `COPY (SELECT * FROM table)`, for what COPY does not take as a table.
    Query,
}

/// Panics with the surroundings of the first difference.
#[track_caller]
pub fn assert_same_bytes(what: &str, ours: &[u8], theirs: &[u8]) {
    if ours == theirs {
        return;
    }
    let at = ours.iter().zip(theirs).position(|(a, b)| a != b).unwrap_or(ours.len().min(theirs.len()));
    let around = |bytes: &[u8]| {
        let part = &bytes[at.saturating_sub(80).min(bytes.len())..(at + 80).min(bytes.len())];
        part.escape_ascii().to_string()
    };
    let (a, b) = (around(ours), around(theirs));
    panic!("{what} differs at byte {at} of {} and {}:\n  ours   …{a}…\n  server …{b}…", ours.len(), theirs.len());
}
