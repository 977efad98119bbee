//! Rows of a backup as values of a row type: each field read from its text by the input function of its column's type.
//! That runs code of others (checks of domains, generated columns), so whoever uses it acts as the row type's owner.

use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void};

use agent_backup_core::codec::CsvFields;
use pgrx::tupdesc::PgTupleDesc;
use pgrx::{PgMemoryContexts, pg_sys};

use crate::error::Result;
use crate::server::convert;
use crate::server::encoding;
use crate::server::results::Results;
use crate::table::computed::Computed;

/// Where a column's value comes from.
enum Way {
    /// The backup has none.
    Null,
    /// A field of the row.
    Field(usize, Box<Input>),
}

/// The input function of a column's type.
pub(super) struct Input {
    function: pg_sys::FmgrInfo,
    io_param: pg_sys::Oid,
    type_modifier: i32,
}

/// Makes rows of a row type out of fields.
pub struct RowMaker<'a> {
    description: &'a PgTupleDesc<'a>,
    ways: Vec<Way>,
    computed: Option<Computed>,
    /// Encoding of the fields, where it is not surely that of the database.
    convert_from: Option<i32>,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
    scratch: PgMemoryContexts,
    /// Columns that are in the row type and not in the backup.
    pub lacking: Vec<String>,
}

impl<'a> RowMaker<'a> {
    /// Plans the columns of `description`, which is that of the relation `relation`, locked by the caller. `fields` are
    /// the names of the fields of a row, in their order.
    pub fn plan(
        description: &'a PgTupleDesc<'a>,
        relation: pg_sys::Oid,
        fields: &[&str],
        convert_from: Option<i32>,
    ) -> Result<Self> {
        let places: HashMap<&str, usize> = fields.iter().enumerate().map(|(place, name)| (*name, place)).collect();
        let (mut ways, mut lacking, mut generated) = (Vec::new(), Vec::new(), Vec::new());
        for (place, column) in description.iter().enumerate() {
            let name = name_of(column)?;
            let way = match places.get(name.as_str()).filter(|_| !column.attisdropped) {
                Some(&field) => Way::Field(field, Box::new(Input::of(column))),
                None => Way::Null,
            };
            if matches!(way, Way::Null) && !column.attisdropped {
                if column.attgenerated != 0 { generated.push(place) } else { lacking.push(name) }
            }
            ways.push(way);
        }
        // SAFETY: the description is borrowed for as long as this lives.
        let computed =
            (!generated.is_empty()).then(|| unsafe { Computed::prepare(relation, description.as_ptr(), &generated) });
        let width = ways.len();
        Ok(RowMaker {
            description,
            ways,
            computed,
            convert_from,
            values: vec![pg_sys::Datum::from(0); width],
            nulls: vec![true; width],
            scratch: PgMemoryContexts::new("agent_backup row"),
            lacking,
        })
    }

    /// Makes the row whose fields begin at place `first` and gives it to `results`, whose columns are the row type's.
    /// The fields hold no zero byte.
    pub fn put(&mut self, fields: &CsvFields, first: usize, place: &mut Place, results: &mut Results) {
        for (index, way) in self.ways.iter_mut().enumerate() {
            let Way::Field(field, input) = way else { continue };
            place.at_column(Some(index));
            let text = fields.get_with_nul(first + *field);
            self.nulls[index] = text.is_none();
            // SAFETY: the text ends in its only zero byte; what the function allocates is copied by `results`.
            self.values[index] = unsafe { self.scratch.switch_to(|_| input.read(text, self.convert_from)) };
        }
        place.at_column(None);
        // SAFETY: both have an item for each column of the description, which is that of the results.
        unsafe {
            if let Some(computed) = &mut self.computed {
                computed.fill(&mut self.values, &mut self.nulls, &mut self.scratch);
            }
            results.put(&mut self.values, &mut self.nulls);
            self.scratch.reset();
        }
    }

    /// Says in the context of an error which row and column it is of, while the result lives.
    pub fn place(&self, table: String) -> Result<Place> {
        Ok(Place::push(table, self.description.iter().map(name_of).collect::<Result<_>>()?))
    }
}

impl Input {
    pub(super) fn of(column: &pg_sys::FormData_pg_attribute) -> Self {
        let (mut function, mut io_param) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
        let mut info = pg_sys::FmgrInfo::default();
        // SAFETY: looks up the catalogue and fills the variables; the context lives as long as the call.
        unsafe {
            pg_sys::getTypeInputInfo(column.atttypid, &mut function, &mut io_param);
            pg_sys::fmgr_info(function, &mut info);
        }
        Input { function: info, io_param, type_modifier: column.atttypmod }
    }

    /// # Safety
    /// `text` ends in its only zero byte.
    pub(super) unsafe fn read(&mut self, text: Option<&[u8]>, convert_from: Option<i32>) -> pg_sys::Datum {
        if text.is_none() && self.function.fn_strict {
            return pg_sys::Datum::from(0);
        }
        // SAFETY: as the caller promises. A domain takes part in its NULLs, too, as in COPY.
        unsafe {
            let pointer: *mut c_char = match (text, convert_from) {
                (None, _) => std::ptr::null_mut(),
                (Some(text), Some(from)) if !text.is_ascii() => convert::to_server(&text[..text.len() - 1], from),
                (Some(text), _) => text.as_ptr().cast_mut().cast(),
            };
            pg_sys::InputFunctionCall(&mut self.function, pointer, self.io_param, self.type_modifier)
        }
    }
}

pub(super) fn name_of(column: &pg_sys::FormData_pg_attribute) -> Result<String> {
    // SAFETY: a name of the catalogue ends in a zero byte.
    Ok(unsafe { encoding::owned(column.attname.data.as_ptr()) }.transpose()?.unwrap_or_default())
}

/// Where the reading is. It is in the context of an error that is raised while this lives.
pub struct Place(*mut Listed);

struct Listed {
    callback: pg_sys::ErrorContextCallback,
    table: String,
    columns: Vec<String>,
    row: u64,
    column: Option<usize>,
}

impl Place {
    /// Lists a table and the names of its columns, in the order in which `at_column` counts them.
    pub(super) fn push(table: String, columns: Vec<String>) -> Self {
        let listed = Listed { callback: Default::default(), table, columns, row: 0, column: None };
        let listed = PgMemoryContexts::CurrentMemoryContext.leak_and_drop_on_delete(listed);
        // SAFETY: it is in the memory of the call, which outlives this; an error takes the list back to what it was.
        unsafe {
            (*listed).callback.callback = Some(say_place);
            (*listed).callback.arg = listed.cast();
            (*listed).callback.previous = pg_sys::error_context_stack;
            pg_sys::error_context_stack = &raw mut (*listed).callback;
        }
        Place(listed)
    }

    /// The row that is read now, from 1.
    pub fn at_row(&mut self, row: u64) {
        // SAFETY: it is there until the call ends.
        unsafe { (*self.0).row = row }
    }

    pub(super) fn at_column(&mut self, column: Option<usize>) {
        // SAFETY: as above.
        unsafe { (*self.0).column = column }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // An error on its way is reported to the client when all of this is unwound, and must find it listed then.
        if !std::thread::panicking() {
            // SAFETY: as above.
            unsafe { pg_sys::error_context_stack = (*self.0).callback.previous }
        }
    }
}

unsafe extern "C-unwind" {
    fn errcontext_msg(format: *const c_char, ...) -> c_int;
}

unsafe extern "C-unwind" fn say_place(listed: *mut c_void) {
    // SAFETY: the argument that `push` gave, which is there while the callback is listed.
    let listed = unsafe { &*listed.cast::<Listed>() };
    let name = listed.column.and_then(|column| listed.columns.get(column));
    let column = name.map(|name| format!(", column \"{name}\"")).unwrap_or_default();
    let text = format!("backup of {}, row {}{column}\0", listed.table, listed.row);
    // SAFETY: both strings end in a zero byte and are copied.
    unsafe { errcontext_msg(c"%s".as_ptr(), text.as_ptr().cast::<c_char>()) };
}
