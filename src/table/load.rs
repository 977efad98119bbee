//! Rows that threads made ready into a table that nobody else sees yet. What the server's COPY does for it is done here:
//! input functions, defaults, generated columns, constraints, batches of rows. Index and trigger has the table none.

use agent_backup_core::codec::load::{Loaded, Target};
use pgrx::pg_sys;
use pgrx::tupdesc::PgTupleDesc;

use crate::error::{Error, Result};
use crate::server::progress::Progress;
use crate::server::user::{ActingAs, Restriction};
use crate::table::insert::Writer;
use crate::table::rows::{Place, name_of};

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

/// What the columns of a table take; none for a table that `copy` has to load.
pub fn targets(relation: pg_sys::Oid, columns: &[String]) -> Result<Option<Vec<Target>>> {
    // SAFETY: the caller has locked the relation; it is closed here, and its description read while it is open.
    unsafe {
        let opened = pg_sys::table_open(relation, pg_sys::NoLock as i32);
        let class = &*(*opened).rd_rel;
        let is_plain = class.relkind == pg_sys::RELKIND_RELATION as std::ffi::c_char
            && !class.relhasindex
            && (*opened).trigdesc.is_null();
        let description = PgTupleDesc::from_pg_copy((*opened).rd_att);
        let one = |name: &String| Ok(target(find(&description, name)?.1));
        let targets = is_plain.then(|| columns.iter().map(one).collect::<Result<Vec<_>>>()).transpose();
        pg_sys::table_close(opened, pg_sys::NoLock as i32);
        targets
    }
}

/// A column of a table by its name, with its place.
pub(super) fn find<'a>(description: &'a PgTupleDesc, name: &str) -> Result<(usize, &'a pg_sys::FormData_pg_attribute)> {
    for (place, column) in description.iter().enumerate().filter(|(_, column)| !column.attisdropped) {
        if name_of(column)? == name {
            return Ok((place, column));
        }
    }
    Err(Error::Internal { object: "column", reason: format!("\"{name}\" is gone") })
}

/// Only of the types themselves: a domain has checks.
fn target(column: &pg_sys::FormData_pg_attribute) -> Target {
    // Words of a datum are those of a 64-bit machine.
    let wide = cfg!(target_pointer_width = "64");
    let modifier = column.atttypmod;
    let digits = usize::try_from(modifier).unwrap_or(6);
    match column.atttypid {
        pg_sys::BOOLOID => Target::Bool,
        pg_sys::INT2OID => Target::Int2,
        pg_sys::INT4OID => Target::Int4,
        pg_sys::INT8OID if wide => Target::Int8,
        pg_sys::OIDOID => Target::Oid,
        pg_sys::DATEOID => Target::Date,
        pg_sys::TIMESTAMPOID if wide => Target::Timestamp(digits),
        pg_sys::TIMESTAMPTZOID if wide => Target::TimestampTz(digits),
        pg_sys::UUIDOID => Target::Uuid,
        pg_sys::BYTEAOID => Target::Bytea,
        pg_sys::TEXTOID => Target::Text(usize::MAX),
        pg_sys::VARCHAROID | pg_sys::BPCHAROID if modifier < 0 => Target::Text(usize::MAX),
        pg_sys::VARCHAROID => Target::Text(length(modifier)),
        pg_sys::BPCHAROID => Target::Padded(length(modifier)),
        pg_sys::NUMERICOID if modifier < 0 => Target::Numeric,
        pg_sys::NUMERICOID => {
            let packed = modifier - pg_sys::VARHDRSZ as i32;
            Target::NumericOf { precision: (packed >> 16) & 0xffff, scale: ((packed & 0x7ff) ^ 1024) - 1024 }
        }
        _ => Target::Input,
    }
}

fn length(modifier: i32) -> usize {
    usize::try_from(modifier - pg_sys::VARHDRSZ as i32).unwrap_or(0)
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
