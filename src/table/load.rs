//! Rows that threads made ready into a table that nobody else sees yet. What the server's COPY does for it is done here:
//! input functions, defaults, generated columns, constraints, batches of rows. Index and trigger has the table none.

use agent_backup_core::codec::load::Loaded;
use pgrx::pg_sys;

use crate::error::Result;
use crate::server::progress::Progress;
use crate::server::user::{ActingAs, Restriction};
use crate::table::insert::Writer;
use crate::table::rows::Place;

/// The rows of a chunk.
pub struct Part {
    /// Number of the chunk's first row, from 0.
    pub first_row: u64,
    /// Bytes of text that they were.
    pub text_bytes: u64,
    pub loaded: Loaded,
}

/// Gives the next rows; none at the end.
pub type NextPart<'a> = dyn FnMut() -> Result<Option<Part>> + 'a;

/// A table of this transaction's making, whose code runs as `owner`.
pub struct Load<'a> {
    pub relation: pg_sys::Oid,
    pub owner: pg_sys::Oid,
    /// The table as an error calls it.
    pub table: String,
    /// The columns of the cells, in their order.
    pub columns: &'a [String],
    /// Encoding of texts for input functions, where it is not that of the database.
    pub convert_from: Option<i32>,
    /// Bytes of text that will come.
    pub bytes: i64,
}

impl Load<'_> {
    /// Loads all rows; how many there were. An error of the server names the row and the column.
    pub fn run(&self, next: &mut NextPart) -> Result<u64> {
        let _owner = ActingAs::user(self.owner, Restriction::SecurityRestricted);
        let mut place = Place::push(self.table.clone(), self.columns.to_vec());
        let mut writer = Writer::open(self)?;
        let progress = Progress::loading(self.relation, self.bytes);
        let (mut rows, mut bytes) = (0, 0);
        while let Some(part) = next()? {
            writer.put(&part, &mut place);
            rows += part.loaded.rows.len() as u64;
            bytes += part.text_bytes;
            progress.show(rows, bytes);
        }
        Ok(rows)
    }
}
