//! The extension's own statements, run with a pinned search path by their callers. Texts in them, their arguments and
//! their rows are UTF-8 here, whatever the database's encoding is.

use pgrx::datum::{DatumWithOid, Interval, TimestampWithTimeZone};
use pgrx::spi::{Spi, SpiHeapTupleData};
use pgrx::{FromDatum, IntoDatum, pg_sys};

use crate::error::{Error, Result};
use crate::server::encoding;
use crate::server::text::Raw;

/// Runs a query and turns each row into a `T`.
pub fn rows<T>(query: &str, arguments: &[Argument], mut row: impl FnMut(&Row) -> Result<T>) -> Result<Vec<T>> {
    let (query, arguments) = (encoding::c_string(query)?, datums(arguments)?);
    Spi::connect(|client| {
        let table = client.select(query.as_c_str(), None, &arguments).map_err(internal)?;
        let mut all = Vec::with_capacity(table.len());
        for tuple in table {
            all.push(row(&Row(tuple))?);
        }
        Ok(all)
    })
}

/// Runs a query and passes each row on, some at a time, however many there are.
pub fn each(query: &str, arguments: &[Argument], mut row: impl FnMut(&Row) -> Result<()>) -> Result<()> {
    const AT_ONCE: std::ffi::c_long = 1000;
    let (query, arguments) = (encoding::c_string(query)?, datums(arguments)?);
    Spi::connect(|client| {
        let mut cursor = client.try_open_cursor(query.as_c_str(), &arguments).map_err(internal)?;
        loop {
            pgrx::check_for_interrupts!();
            let table = cursor.fetch(AT_ONCE).map_err(internal)?;
            if table.is_empty() {
                return Ok(());
            }
            for tuple in table {
                row(&Row(tuple))?;
            }
            // SAFETY: the rows of this turn, none of which is kept; the next turn makes a table of its own.
            unsafe { pg_sys::SPI_freetuptable(pg_sys::SPI_tuptable) };
        }
    })
}

/// Runs a statement that writes; the number of rows it touched.
pub fn execute(statement: &str, arguments: &[Argument]) -> Result<usize> {
    let (statement, arguments) = (encoding::c_string(statement)?, datums(arguments)?);
    Spi::connect_mut(|client| Ok(client.update(statement.as_c_str(), None, &arguments).map_err(internal)?.len()))
}

/// Runs a statement that writes and returns rows, and turns each into a `T`.
pub fn changed_rows<T>(
    statement: &str,
    arguments: &[Argument],
    mut row: impl FnMut(&Row) -> Result<T>,
) -> Result<Vec<T>> {
    let (statement, arguments) = (encoding::c_string(statement)?, datums(arguments)?);
    Spi::connect_mut(|client| {
        let table = client.update(statement.as_c_str(), None, &arguments).map_err(internal)?;
        table.map(|tuple| row(&Row(tuple))).collect()
    })
}

/// The first column of the first row as text, if there is one.
pub fn text(query: &str, arguments: &[Argument]) -> Result<Option<String>> {
    Ok(rows(query, arguments, |row| row.optional::<String>(1))?.into_iter().next().flatten())
}

/// The rows of a statement of whatever columns, as text.
pub type Texts = Vec<Vec<Option<String>>>;

/// Runs any statement; its rows as text, none where it returns none.
pub fn texts(statement: &str) -> Result<Texts> {
    let statement = encoding::c_string(statement)?;
    Spi::connect_mut(|_| {
        // SAFETY: inside a connection of SPI, whose table of rows stays until it is closed; SPI_getvalue gives null or a
        // string of the server.
        unsafe {
            let code = pg_sys::SPI_execute(statement.as_ptr(), false, 0);
            Spi::check_status(code).map_err(internal)?;
            let Some(table) = pg_sys::SPI_tuptable.as_ref() else { return Ok(Vec::new()) };
            let columns = 1..=(*table.tupdesc).natts;
            let text = |row, column| encoding::owned(pg_sys::SPI_getvalue(row, table.tupdesc, column)).transpose();
            let rows = std::slice::from_raw_parts(table.vals, usize::try_from(table.numvals).unwrap_or_default());
            rows.iter().map(|row| columns.clone().map(|column| text(*row, column)).collect()).collect()
        }
    })
}

/// One row of a result; columns count from 1.
pub struct Row<'conn>(SpiHeapTupleData<'conn>);

impl Row<'_> {
    /// A column that may be null.
    pub fn optional<T: Field>(&self, column: usize) -> Result<Option<T>> {
        self.0.get::<T::Datum>(column).map_err(internal)?.map(T::of).transpose()
    }

    /// A column that is never null.
    pub fn required<T: Field>(&self, column: usize) -> Result<T> {
        self.optional(column)?
            .ok_or_else(|| Error::Internal { object: "catalogue query", reason: format!("column {column} is null") })
    }

    /// A text that is only shown to people: what is not UTF-8 in it stands as `\xE9`.
    pub fn shown(&self, column: usize) -> Result<String> {
        Ok(encoding::shown(&self.required::<Raw>(column)?.0))
    }
}

/// What a column can be read as.
pub trait Field: Sized {
    type Datum: FromDatum + IntoDatum;

    /// The value of a datum; a text that is not UTF-8 is an error.
    fn of(datum: Self::Datum) -> Result<Self>;
}

impl Field for String {
    type Datum = Raw;

    fn of(raw: Raw) -> Result<Self> {
        encoding::from_server(raw.0)
    }
}

/// A text that is only shown to people, as `Row::shown` has it.
pub struct Shown(pub String);

impl Field for Shown {
    type Datum = Raw;

    fn of(raw: Raw) -> Result<Self> {
        Ok(Shown(encoding::shown(&raw.0)))
    }
}

impl Field for Vec<Shown> {
    type Datum = Vec<Raw>;

    fn of(raw: Vec<Raw>) -> Result<Self> {
        raw.into_iter().map(Shown::of).collect()
    }
}

impl Field for Vec<String> {
    type Datum = Vec<Raw>;

    fn of(raw: Vec<Raw>) -> Result<Self> {
        raw.into_iter().map(String::of).collect()
    }
}

/// What a statement's `$1` can be.
pub enum Argument<'a> {
    Text(Option<&'a str>),
    Texts(Option<Vec<Option<String>>>),
    Value(DatumWithOid<'a>),
}

impl<'a> From<&'a str> for Argument<'a> {
    fn from(text: &'a str) -> Self {
        Argument::Text(Some(text))
    }
}

impl<'a> From<Option<&'a str>> for Argument<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Argument::Text(text)
    }
}

impl From<Vec<String>> for Argument<'_> {
    fn from(texts: Vec<String>) -> Self {
        Some(texts).into()
    }
}

impl From<Option<Vec<String>>> for Argument<'_> {
    fn from(texts: Option<Vec<String>>) -> Self {
        Argument::Texts(texts.map(|texts| texts.into_iter().map(Some).collect()))
    }
}

impl From<Vec<Option<String>>> for Argument<'_> {
    fn from(texts: Vec<Option<String>>) -> Self {
        Argument::Texts(Some(texts))
    }
}

/// Types without text in them travel as they are.
macro_rules! without_text {
    ($($value:ty),*) => { $(
        impl Field for $value {
            type Datum = Self;

            fn of(value: Self) -> Result<Self> {
                Ok(value)
            }
        }

        impl From<$value> for Argument<'_> {
            fn from(value: $value) -> Self {
                Argument::Value(value.into())
            }
        }

        impl From<Option<$value>> for Argument<'_> {
            fn from(value: Option<$value>) -> Self {
                Argument::Value(value.into())
            }
        }
    )* };
}

without_text!(
    bool,
    i16,
    i32,
    i64,
    f64,
    pg_sys::Oid,
    Vec<i32>,
    Vec<i64>,
    Vec<Option<i64>>,
    Vec<f64>,
    Vec<pg_sys::Oid>,
    Vec<u8>,
    Raw,
    Interval,
    TimestampWithTimeZone
);

fn datums<'a>(arguments: &'a [Argument<'a>]) -> Result<Vec<DatumWithOid<'a>>> {
    arguments.iter().map(datum).collect()
}

fn datum<'a>(argument: &'a Argument<'a>) -> Result<DatumWithOid<'a>> {
    let oid = <Raw as IntoDatum>::type_oid();
    Ok(match argument {
        Argument::Text(None) => DatumWithOid::null::<Raw>(),
        // SAFETY: a text is laid out as a bytea.
        Argument::Text(Some(text)) => unsafe { DatumWithOid::new(&*encoding::to_server(text)?, oid) },
        Argument::Texts(None) => DatumWithOid::null::<Vec<Raw>>(),
        Argument::Texts(Some(texts)) => {
            let raw = |text: &String| Ok(Raw(encoding::to_server(text)?.into_owned()));
            let raw = texts.iter().map(|text| text.as_ref().map(raw).transpose());
            raw.collect::<Result<Vec<Option<Raw>>>>()?.into()
        }
        // SAFETY: the same datum again; by reference it stays as long as the argument.
        Argument::Value(value) => unsafe { DatumWithOid::new_from_datum(value.datum(), value.oid()) },
    })
}

fn internal(error: pgrx::spi::SpiError) -> Error {
    Error::Internal { object: "catalogue query", reason: error.to_string() }
}
