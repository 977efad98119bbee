//! From a batch of rows to the text of a chunk, in any of the three formats.

use std::error::Error;
use std::ops::Range;
use std::sync::Arc;

use super::csv::Csv;
use super::error::{EncodeError, Fault, Outcome};
use super::json::Json;
use super::sql::{self, Sql};
use super::value::Scratch;
use super::wire::{Column, Fields, RowBatch};
use crate::plan::Format;
use crate::stream::{ChunkEncoder, RowDigest};

/// The most bytes a row's text may have: PostgreSQL takes no longer line, and no longer value.
pub(super) const ROW_LIMIT: usize = (1 << 30) - 1;

/// What stands around the rows of a chunk.
#[derive(Clone, Copy)]
struct Around {
    /// Before the first row.
    first: &'static [u8],
    /// Before each other row.
    before: &'static [u8],
    after: &'static [u8],
}

const LINES: Around = Around { first: b"", before: b"", after: b"\n" };
const ITEMS: Around = Around { first: b"\n", before: b",\n", after: b"" };

/// Writes the rows of one table in one format. A clone shares all, so each thread may have its own.
#[derive(Debug, Clone)]
pub struct Encoder(Arc<Plan>);

#[derive(Debug)]
struct Plan {
    names: Vec<String>,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    Csv(Csv),
    Json(Json),
    Sql(Sql),
}

impl Encoder {
    /// The bytes of `COPY … (FORMAT csv, HEADER)`, without generated columns.
    pub fn csv(columns: &[Column]) -> Self {
        Self::new(columns, Rows::Csv(Csv::new(columns)))
    }

    /// A JSON array with one `row_to_json` object a line.
    pub fn json(columns: &[Column]) -> Self {
        Self::new(columns, Rows::Json(Json::new(columns)))
    }

    /// One INSERT a row into `table`, which stands in the text as it is: qualified and quoted.
    pub fn sql(columns: &[Column], table: &str) -> Self {
        Self::new(columns, Rows::Sql(Sql::new(columns, table)))
    }

    fn new(columns: &[Column], rows: Rows) -> Self {
        Encoder(Arc::new(Plan { names: columns.iter().map(|column| column.name.clone()).collect(), rows }))
    }

    /// The format of the rows.
    pub fn format(&self) -> Format {
        match self.0.rows {
            Rows::Csv(_) => Format::Csv,
            Rows::Json(_) => Format::Json,
            Rows::Sql(_) => Format::Sql,
        }
    }

    /// The bytes before the first row.
    pub fn prologue(&self) -> Vec<u8> {
        match &self.0.rows {
            Rows::Csv(csv) => csv.header().to_vec(),
            Rows::Json(_) => b"[".to_vec(),
            Rows::Sql(_) => sql::PROLOGUE.into(),
        }
    }

    /// The bytes after the last row.
    pub fn epilogue(&self) -> Vec<u8> {
        if self.format() == Format::Json { b"\n]\n".to_vec() } else { vec![] }
    }

    /// The bytes between two chunks that both have rows.
    pub fn separator(&self) -> &'static [u8] {
        if self.format() == Format::Json { b"," } else { b"" }
    }

    /// Appends the text of a batch to `out` and adds each row, without line end or separator, to `digest`.
    /// In CSV and SQL every row ends in a line feed; in JSON each begins on a new line, after a comma but for the first.
    ///
    /// # Errors
    /// A row longer than 1 GiB, or bytes that are no value of their kind; then `out` is as before, and `digest` is
    /// of no use.
    pub fn encode(&self, batch: &RowBatch, digest: &mut RowDigest, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let rows = self.encode_rows(batch, out)?;
        digest.add_rows(rows.into_iter().map(|row| &out[row]));
        Ok(())
    }

    /// As `encode`, with the place of each row's bytes in `out` instead of the digest.
    ///
    /// # Errors
    /// As `encode`.
    pub fn encode_rows(&self, batch: &RowBatch, out: &mut Vec<u8>) -> Result<Vec<Range<usize>>, EncodeError> {
        let start = out.len();
        let outcome = match &self.0.rows {
            Rows::Csv(csv) => self.run(batch, out, LINES, |f, s, o, at| csv.row(f, s, o, at)),
            Rows::Json(json) => self.run(batch, out, ITEMS, |f, s, o, at| json.row(f, s, o, at)),
            Rows::Sql(sql) => self.run(batch, out, LINES, |f, s, o, at| sql.row(f, s, o, at)),
        };
        if outcome.is_err() {
            out.truncate(start);
        }
        outcome
    }

    fn run(
        &self,
        batch: &RowBatch,
        out: &mut Vec<u8>,
        around: Around,
        write: impl Fn(&mut Fields, &mut Scratch, &mut Vec<u8>, &mut usize) -> Outcome,
    ) -> Result<Vec<Range<usize>>, EncodeError> {
        let mut fields = Fields::new(batch);
        let mut scratch = Scratch::default();
        let mut rows = Vec::with_capacity(batch.rows as usize);
        for index in 0..batch.rows {
            out.extend_from_slice(if index == 0 { around.first } else { around.before });
            let start = out.len();
            let mut at = 0;
            write(&mut fields, &mut scratch, out, &mut at).map_err(|fault| self.error(fault, batch, index, at))?;
            if out.len() - start > ROW_LIMIT {
                return Err(self.error(Fault::TooLong, batch, index, at));
            }
            rows.push(start..out.len());
            out.extend_from_slice(around.after);
        }
        if fields.is_empty() {
            return Ok(rows);
        }
        Err(EncodeError::BrokenBatch { sequence: batch.sequence, reason: "it holds more than its rows" })
    }

    #[cold]
    fn error(&self, fault: Fault, batch: &RowBatch, index: u32, at: usize) -> EncodeError {
        let row = batch.first_row + u64::from(index);
        match fault {
            Fault::TooLong => EncodeError::RowTooLong { row },
            Fault::Malformed(reason) => {
                EncodeError::Malformed { row, column: self.0.names.get(at).cloned().unwrap_or_default(), reason }
            }
        }
    }
}

impl ChunkEncoder for Encoder {
    fn prologue(&self) -> Vec<u8> {
        Encoder::prologue(self)
    }

    fn epilogue(&self) -> Vec<u8> {
        Encoder::epilogue(self)
    }

    fn separator(&self) -> &'static [u8] {
        Encoder::separator(self)
    }

    fn encode(
        &self,
        batch: &RowBatch,
        digest: &mut RowDigest,
        out: &mut Vec<u8>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(Encoder::encode(self, batch, digest, out)?)
    }
}
