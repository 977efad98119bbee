//! Are two tables the same? A comparison that an empty table cannot pass.

use postgres::GenericClient;

/// The number of rows when both relations hold the same rows, else what differs. `left` and `right` are written as in
/// FROM: a name, quoted where it must be, or `(SELECT …)`. Rows are compared as text, so any type will do and 1.0 is not 1.00.
/// Two empty tables are refused: they prove nothing.
pub fn equal_tables(client: &mut impl GenericClient, left: &str, right: &str) -> Result<i64, String> {
    let mut count = |table: &str| -> Result<i64, String> {
        let row = client.query_one(&format!("SELECT count(*) FROM {table} AS t"), &[]);
        Ok(row.map_err(|error| format!("cannot count {table}: {error:?}"))?.get(0))
    };
    let (left_rows, right_rows) = (count(left)?, count(right)?);
    if left_rows != right_rows {
        return Err(format!("{left} has {left_rows} rows, {right} has {right_rows}"));
    }
    if left_rows == 0 {
        return Err(format!("{left} and {right} are empty, so nothing is compared"));
    }
    // ROW(t.*), for t::text would be the column t of a table that has one.
    for (here, there) in [(left, right), (right, left)] {
        let query = format!(
            "SELECT ROW(t.*)::text FROM {here} AS t EXCEPT ALL SELECT ROW(t.*)::text FROM {there} AS t LIMIT 3"
        );
        let rows =
            client.query(&query, &[]).map_err(|error| format!("cannot compare {here} with {there}: {error:?}"))?;
        if !rows.is_empty() {
            let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            return Err(format!("only in {here}, not in {there}: {}", rows.join("; ")));
        }
    }
    Ok(left_rows)
}

/// Panics with the difference unless both hold the same rows, at least one.
#[track_caller]
pub fn assert_equal_tables(client: &mut impl GenericClient, left: &str, right: &str) {
    if let Err(difference) = equal_tables(client, left, right) {
        panic!("{difference}");
    }
}
