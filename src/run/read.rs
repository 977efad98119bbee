//! `read_backup`: the rows of one table of a backup as rows of a type.

use agent_backup_core::codec::{CsvFields, split};
use agent_backup_core::container::manifest::Member;
use agent_backup_core::container::{ContainerError, Tally};
use agent_backup_core::plan::Format;
use agent_backup_core::stream::{Chunk, RowDigest};
use pgrx::tupdesc::PgTupleDesc;
use pgrx::{check_for_interrupts, pg_sys};

use crate::error::{Error, Result};
use crate::ident::{self, TableName};
use crate::run::erase::tombstones::{self, Hidden};
use crate::run::source::{self, Source};
use crate::run::unpack::{self, Checked};
use crate::server::encoding::{self, Encoding};
use crate::server::pin::Pinned;
use crate::server::results::Results;
use crate::server::user::{ActingAs, Restriction};
use crate::server::{lock, privilege, sql};
use crate::table::rows::RowMaker;

/// What is to be read.
pub struct Request<'a> {
    /// Type of the rows: that of a table, or a composite type.
    pub row_type: pg_sys::Oid,
    pub backup: &'a str,
    /// The table in the backup; none means the one whose type the rows are.
    pub table: Option<&'a str>,
    pub set: &'a str,
}

/// Reads the rows into what `make` makes for rows of this description. Damage is an error, before a row comes out.
pub fn run(request: &Request, make: impl FnOnce(pg_sys::TupleDesc) -> Result<Results>) -> Result<()> {
    let relation = relation_of(request.row_type)?;
    let source = source::find(request.backup, request.set)?;
    let own = ident::name_of(relation)?;
    let qualified = own.qualified();
    let (number, member) = source.member(request.table.unwrap_or(&qualified))?;
    let saved = source::name_of(member);
    require_reader(&saved)?;
    lock::table_for_reading(relation, &own.display())?;
    // SAFETY: the relation is locked, so its row type stays as it is.
    let description =
        unsafe { PgTupleDesc::from_pg_is_copy(pg_sys::lookup_rowtype_tupdesc_copy(request.row_type, -1)) };
    let results = make(description.as_ptr())?;
    let fields: Vec<&str> = held(member).map(|column| column.name.as_str()).collect();
    let owner = owner_of(relation)?;

    let _formats = Pinned::formats()?;
    let _owner = ActingAs::user(owner, Restriction::SecurityRestricted);
    let maker = RowMaker::plan(&description, relation, &fields, conversion(&source))?;
    if !maker.lacking.is_empty() {
        let columns = maker.lacking.join(", ");
        crate::run::say::notice(&format!("{}: not in the backup, so null: {columns}", saved.display()));
    }
    copy(&source, number, fields.len(), maker, results)
}

fn copy(source: &Source, number: usize, width: usize, mut maker: RowMaker, mut results: Results) -> Result<()> {
    let entry = source.csv(number)?;
    let is_utf8 = source.manifest().server.encoding != "SQL_ASCII";
    let table = source.manifest().members.get(number).map(|member| source::name_of(member).display());
    let mut place = maker.place(table.unwrap_or_default())?;
    let mut tally = Tally::default();
    let split = move |chunk: Chunk, plain: Vec<u8>| Part::split(chunk, &plain, width, is_utf8);
    let mut chunks = unpack::rows(source, number, entry, unpack::all(entry), split)?;
    let mut left_out = Hidden::default();
    while let Some((chunk, part)) = unpack::next(&mut chunks)? {
        let (part, hidden) = part.map_err(|problem| source.damaged(problem))?;
        tally.add(entry, chunk, Ok(hidden.and(part.rows, part.digest)));
        left_out.add(hidden);
        for row in 0..part.rows {
            check_for_interrupts!();
            place.at_row(chunk.first_row + row + 1);
            maker.put(&part.fields, row as usize * width.max(1), &mut place, &mut results);
        }
    }
    tombstones::tell(source, number, left_out.rows);
    match tally.verdict(entry).0.into_iter().next() {
        None => Ok(()),
        Some(problem) => Err(source.damaged(problem)),
    }
}

/// What a thread makes of a chunk.
struct Part {
    rows: u64,
    digest: RowDigest,
    fields: CsvFields,
}

impl Part {
    fn split(chunk: Chunk, plain: &[u8], width: usize, is_utf8: bool) -> Checked<Self> {
        check_text(chunk, plain, is_utf8)?;
        let mut part = Part { rows: 0, digest: RowDigest::default(), fields: CsvFields::default() };
        for row in split::rows(Format::Csv, plain) {
            part.digest.add_row(row);
            part.rows += 1;
            part.fields.append(row).map_err(|error| unreadable(chunk, part.rows, &error.to_string()))?;
            // A row of no columns is an empty line, which reads as one null.
            if part.fields.len() as u64 != part.rows * width.max(1) as u64 {
                return Err(unreadable(chunk, part.rows, WRONG_WIDTH));
            }
        }
        Ok(part)
    }
}

/// What is wrong with a row that does not fit the columns of the manifest.
pub const WRONG_WIDTH: &str = "it has another number of fields than there are columns";

/// Refuses bytes that no text of the server has: whoever wrote the file may not have been us (T82).
pub fn check_text(chunk: Chunk, plain: &[u8], is_utf8: bool) -> Checked<()> {
    if plain.contains(&0) {
        return Err(unreadable(chunk, 1, "a zero byte is in it or in a row after it"));
    }
    match is_utf8.then(|| std::str::from_utf8(plain)) {
        Some(Err(_)) => Err(unreadable(chunk, 1, "it, or a row after it, is not in UTF-8")),
        _ => Ok(()),
    }
}

/// `row` counts from 1 in the chunk.
pub fn unreadable(chunk: Chunk, row: u64, reason: &str) -> ContainerError {
    ContainerError::Unreadable { what: format!("row {}", chunk.first_row + row), detail: reason.to_owned() }
}

/// The columns that stand in the CSV.
pub fn held(member: &Member) -> impl Iterator<Item = &agent_backup_core::container::manifest::ColumnInfo> {
    member.columns.iter().filter(|column| !column.generated)
}

/// The encoding that fields must be converted from; none where the threads have checked them to be the database's.
pub fn conversion(source: &Source) -> Option<i32> {
    let of_file = if source.manifest().server.encoding == "SQL_ASCII" {
        pg_sys::pg_enc::PG_SQL_ASCII
    } else {
        pg_sys::pg_enc::PG_UTF8
    };
    match (Encoding::of_database(), of_file) {
        (Encoding::Unknown, _) | (Encoding::Utf8, pg_sys::pg_enc::PG_UTF8) => None,
        (_, from) => Some(from as i32),
    }
}

/// Where the table that was saved is here, its rights hold for its backups, too.
fn require_reader(saved: &TableName) -> Result<()> {
    let Some(oid) = ident::oid_of(saved) else { return Ok(()) };
    lock::table_for_reading(oid, &saved.display())?;
    privilege::require_reader(oid, &saved.display())
}

/// The relation whose row type it is.
pub fn relation_of(row_type: pg_sys::Oid) -> Result<pg_sys::Oid> {
    // SAFETY: both look up the catalogue.
    let relation = unsafe { pg_sys::get_typ_typrelid(row_type) };
    if relation != pg_sys::InvalidOid {
        return Ok(relation);
    }
    // SAFETY: as above; the result is palloc'd.
    let name = unsafe { encoding::owned(pg_sys::format_type_be(row_type)) };
    Err(Error::NotARowType { name: name.transpose()?.unwrap_or_default() })
}

fn owner_of(relation: pg_sys::Oid) -> Result<pg_sys::Oid> {
    let query = "SELECT relowner FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) $1";
    let owner = sql::rows(query, &[relation.into()], |row| row.required(1))?.into_iter().next();
    owner.ok_or(Error::Internal { object: "row type", reason: "its relation is gone".into() })
}
