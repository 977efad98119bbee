//! Texts of files, which are in UTF-8, as values of this server.

use std::ffi::CString;

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{IntoDatum, pg_sys};

use crate::server::encoding::Encoding;

/// A text of a file in the encoding of the database, with a zero byte behind it; it is of the current memory context.
/// The server refuses what the encoding has no character for.
///
/// # Safety
/// `text` is followed by a zero byte, which is the first one.
pub unsafe fn to_server(text: &[u8], from: i32) -> *mut std::ffi::c_char {
    let length = i32::try_from(text.len()).unwrap_or(i32::MAX);
    // SAFETY: as the caller promises; the result is the text itself or a palloc'd copy.
    unsafe { pg_sys::pg_any_to_server(text.as_ptr().cast(), length, from) }
}

/// A `jsonb` value that is only handed out, as JSON text in UTF-8.
pub struct Jsonb(pub Vec<u8>);

impl IntoDatum for Jsonb {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        // A text of a file has no zero byte: its rows were checked for any.
        let text = CString::new(self.0).ok()?;
        // SAFETY: a NUL-terminated text; `jsonb_in` copies what it keeps.
        unsafe {
            let pointer = match Encoding::of_database() {
                Encoding::Converted => to_server(text.as_bytes(), pg_sys::pg_enc::PG_UTF8 as i32),
                Encoding::Utf8 | Encoding::Unknown => text.as_ptr().cast_mut(),
            };
            pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(pg_sys::Datum::from(pointer))])
        }
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::JSONBOID
    }
}

// SAFETY: it is `jsonb` to SQL, as `into_datum` makes it.
unsafe impl SqlTranslatable for Jsonb {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Jsonb);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("jsonb"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Ok(ReturnsRef::One(SqlMappingRef::literal("jsonb")));
}

// SAFETY: the datum is that of `into_datum`.
unsafe impl BoxRet for Jsonb {
    unsafe fn box_into<'fcx>(self, call: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        match self.into_datum() {
            // SAFETY: as the caller promises.
            Some(datum) => unsafe { call.return_raw_datum(datum) },
            None => call.return_null(),
        }
    }
}
