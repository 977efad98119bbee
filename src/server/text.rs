//! Texts between SQL and us. pgrx reads every text as UTF-8; these types ask for the database's encoding.

use std::fmt;
use std::ops::Deref;

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{Datum, UnboxDatum};
use pgrx::nullable::Nullable;
use pgrx::pg_sys::panic::ErrorReportable;
use pgrx::{FromDatum, IntoDatum, pg_sys};

use crate::error::{self, Error};
use crate::server::encoding;

/// A text that is an argument or a result of an SQL function, in UTF-8 on our side. A result is for a person: a letter
/// that the database has not stands in it as `\u{65E5}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(String);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text(text)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text(text.to_owned())
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0
    }
}

impl FromDatum for Text {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, type_oid: pg_sys::Oid) -> Option<Self> {
        // SAFETY: as the caller promises.
        let raw = unsafe { Raw::from_polymorphic_datum(datum, is_null, type_oid) };
        raw.map(|raw| Text(or_report(encoding::from_server(raw.0))))
    }
}

impl IntoDatum for Text {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        encoding::to_show(&self.0).as_ref().into_datum()
    }

    fn type_oid() -> pg_sys::Oid {
        Raw::type_oid()
    }

    fn is_compatible_with(other: pg_sys::Oid) -> bool {
        Raw::is_compatible_with(other)
    }
}

// SAFETY: the text is copied, nothing of the datum is kept.
unsafe impl UnboxDatum for Text {
    type As<'src> = Text;

    unsafe fn unbox<'src>(datum: Datum<'src>) -> Text
    where
        Self: 'src,
    {
        // SAFETY: as the caller promises.
        Text(or_report(encoding::from_server(unsafe { Raw::unbox(datum) }.0)))
    }
}

// SAFETY: the argument is what its SQL type says.
unsafe impl<'fcx> ArgAbi<'fcx> for Text {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: as the caller promises; the server does not call a function with NULL for an argument that is no Option.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or_else(|| Text(String::new()))
    }

    unsafe fn unbox_nullable_arg(arg: Arg<'_, 'fcx>) -> Nullable<Self> {
        // SAFETY: as above.
        unsafe { arg.unbox_arg_using_from_datum() }.into()
    }
}

// SAFETY: the datum is of the type that `type_oid` names.
unsafe impl BoxRet for Text {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        match self.into_datum() {
            // SAFETY: as the caller promises.
            Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
            None => fcinfo.return_null(),
        }
    }
}

pgrx::impl_sql_translatable!(Text, "TEXT");

/// A `jsonb` argument, as the text that the server writes of it.
#[derive(Debug, Clone)]
pub struct Json(pub String);

impl FromDatum for Json {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: a jsonb datum, detoasted; the text lives in the current memory context.
        let text = unsafe {
            let jsonb = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::Jsonb>();
            encoding::owned(pg_sys::JsonbToCString(std::ptr::null_mut(), &raw mut (*jsonb).root, 0))
        };
        text.map(|text| Json(or_report(text)))
    }
}

// SAFETY: the argument is what its SQL type says.
unsafe impl<'fcx> ArgAbi<'fcx> for Json {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: as for `Text`.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or_else(|| Json("null".into()))
    }

    unsafe fn unbox_nullable_arg(arg: Arg<'_, 'fcx>) -> Nullable<Self> {
        // SAFETY: as above.
        unsafe { arg.unbox_arg_using_from_datum() }.into()
    }
}

pgrx::impl_sql_translatable!(Json, "jsonb");

/// The bytes of a text as the server has them, for what can report an error in its own way.
pub struct Raw(pub Vec<u8>);

impl FromDatum for Raw {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, type_oid: pg_sys::Oid) -> Option<Self> {
        // SAFETY: as the caller promises; a text is laid out as a bytea.
        unsafe { Vec::from_polymorphic_datum(datum, is_null, type_oid) }.map(Raw)
    }
}

impl IntoDatum for Raw {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        self.0.into_datum()
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::TEXTOID
    }

    fn is_compatible_with(other: pg_sys::Oid) -> bool {
        other == pg_sys::TEXTOID || other == pg_sys::VARCHAROID
    }
}

// SAFETY: as for `Text`.
unsafe impl UnboxDatum for Raw {
    type As<'src> = Raw;

    unsafe fn unbox<'src>(datum: Datum<'src>) -> Raw
    where
        Self: 'src,
    {
        // SAFETY: as the caller promises.
        Raw(unsafe { <&[u8]>::unbox(datum) }.to_vec())
    }
}

/// What pgrx lets no error out of: it is raised here.
fn or_report<T>(result: error::Result<T>) -> T {
    result.map_err(Error::into_report).unwrap_or_report()
}
