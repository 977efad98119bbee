//! How the values of one column leave the backend: as stored where the core decodes the type, else as text made by
//! the type's own output function, and as JSON made by `to_json` where that is more than a string of the text.

use std::collections::HashMap;
use std::sync::Arc;

use agent_backup_core::codec::wire::Element;
use agent_backup_core::codec::{Column, ValueKind};
use pgrx::pg_sys;

use crate::error::Result;
use crate::server::encoding::Encoding;
use crate::server::sql;
use crate::table::catalog::TableColumn;

/// What the backend does with a non-null value of the column.
pub enum Take {
    /// Copy a by-value datum of this many bytes.
    ByValue(usize),
    /// Copy this many bytes that the datum points to.
    Fixed(usize),
    /// Copy the detoasted payload of a varlena.
    Varlena,
    /// As `Varlena`, converted to UTF-8.
    VarlenaText,
    /// Call the output function.
    Output(Box<pg_sys::FmgrInfo>),
    /// Call the output function, then `to_json`.
    OutputAndJson(Box<pg_sys::FmgrInfo>, Box<pg_sys::FmgrInfo>),
}

/// Chooses the way of one column. `json`: a JSON file is wanted too.
pub fn plan(column: &TableColumn, json: bool, encoding: Encoding) -> Result<(Column, Take)> {
    // SAFETY: looks up the catalogue for a type of a locked table's column.
    let base = unsafe { pg_sys::getBaseType(column.type_oid) };
    let (kind, take) = match native(base, encoding)? {
        Some(kind) => {
            let take = take_native(&kind, base, encoding);
            (kind, take)
        }
        None if json && has_own_json(base) => {
            (ValueKind::TextAndJson, Take::OutputAndJson(output(column.type_oid), to_json(column.type_oid)))
        }
        None => (text_kind(base), Take::Output(output(column.type_oid))),
    };
    Ok((Column { name: column.name.clone(), kind, generated: column.generated }, take))
}

/// The kind of a type that the core decodes, and that no user's cast gives another JSON form.
fn native(base: pg_sys::Oid, encoding: Encoding) -> Result<Option<ValueKind>> {
    if let Some(kind) = scalar(base) {
        let texts_inside = matches!(kind, ValueKind::Jsonb);
        return Ok((encoding == Encoding::Utf8 || !texts_inside).then_some(kind));
    }
    if encoding != Encoding::Utf8 {
        return Ok(None);
    }
    // SAFETY: looks up the catalogue.
    let element = unsafe { pg_sys::get_element_type(base) };
    // A type such as int2vector has elements and an output function of its own.
    if element != pg_sys::InvalidOid && output_function(base) == pg_sys::Oid::from(pg_sys::F_ARRAY_OUT) {
        return array(element);
    }
    // SAFETY: as above.
    if unsafe { pg_sys::type_is_enum(base) } && !has_own_json(base) {
        return Ok(Some(ValueKind::Enum(labels(base)?)));
    }
    Ok(None)
}

fn scalar(base: pg_sys::Oid) -> Option<ValueKind> {
    Some(match base {
        pg_sys::BOOLOID => ValueKind::Bool,
        pg_sys::INT2OID => ValueKind::Int2,
        pg_sys::INT4OID => ValueKind::Int4,
        pg_sys::INT8OID => ValueKind::Int8,
        pg_sys::OIDOID => ValueKind::Oid,
        pg_sys::NUMERICOID => ValueKind::Numeric,
        pg_sys::DATEOID => ValueKind::Date,
        pg_sys::TIMESTAMPOID => ValueKind::Timestamp,
        pg_sys::TIMESTAMPTZOID => ValueKind::TimestampTz,
        pg_sys::UUIDOID => ValueKind::Uuid,
        pg_sys::BYTEAOID => ValueKind::Bytea,
        pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID => ValueKind::Text,
        pg_sys::JSONOID => ValueKind::Json,
        pg_sys::JSONBOID => ValueKind::Jsonb,
        _ => return None,
    })
}

fn array(element: pg_sys::Oid) -> Result<Option<ValueKind>> {
    // SAFETY: looks up the catalogue. The element's own type decides: a domain has an output function of its own.
    let is_enum = unsafe { pg_sys::type_is_enum(element) };
    let kind = match scalar(element) {
        Some(ValueKind::Oid | ValueKind::Bytea | ValueKind::Json) => return Ok(None),
        Some(kind) => kind,
        None if is_enum && !has_own_json(element) => ValueKind::Enum(labels(element)?),
        None => return Ok(None),
    };
    let (mut length, mut by_value, mut align, mut delimiter) = (0i16, false, 0i8, 0i8);
    let (mut io_param, mut function) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
    // SAFETY: looks up the catalogue and fills the variables.
    unsafe {
        pg_sys::get_type_io_data(
            element,
            pg_sys::IOFuncSelector::IOFunc_output,
            &mut length,
            &mut by_value,
            &mut align,
            &mut delimiter,
            &mut io_param,
            &mut function,
        );
    }
    let align = match align.cast_unsigned() {
        b'c' => 1,
        b's' => 2,
        b'i' => 4,
        _ => 8,
    };
    Ok(Some(ValueKind::Array(Arc::new(Element { kind, length, align, delimiter: delimiter.cast_unsigned() }))))
}

fn take_native(kind: &ValueKind, base: pg_sys::Oid, encoding: Encoding) -> Take {
    match kind {
        ValueKind::Bool => Take::ByValue(1),
        ValueKind::Int2 => Take::ByValue(2),
        ValueKind::Int4 | ValueKind::Oid | ValueKind::Date | ValueKind::Enum(_) => Take::ByValue(4),
        ValueKind::Int8 | ValueKind::Timestamp | ValueKind::TimestampTz => Take::ByValue(8),
        ValueKind::Uuid => Take::Fixed(16),
        ValueKind::Text | ValueKind::Json if encoding == Encoding::Converted && base != pg_sys::BYTEAOID => {
            Take::VarlenaText
        }
        _ => Take::Varlena,
    }
}

/// Types that are not decoded natively: numbers stand bare in JSON, all else is a string.
fn text_kind(base: pg_sys::Oid) -> ValueKind {
    match base {
        pg_sys::FLOAT4OID | pg_sys::FLOAT8OID => ValueKind::NumberText,
        pg_sys::JSONBOID => ValueKind::Json,
        _ => ValueKind::Text,
    }
}

/// Whether `row_to_json` does more with the type than quote its text: arrays, composites, and types of users with a
/// cast to json.
fn has_own_json(base: pg_sys::Oid) -> bool {
    let mut function = pg_sys::InvalidOid;
    // SAFETY: all look up the catalogue.
    unsafe {
        if pg_sys::get_element_type(base) != pg_sys::InvalidOid || pg_sys::type_is_rowtype(base) {
            return true;
        }
        base.to_u32() >= pg_sys::FirstNormalObjectId
            && pg_sys::find_coercion_pathway(
                pg_sys::JSONOID,
                base,
                pg_sys::CoercionContext::COERCION_EXPLICIT,
                &mut function,
            ) == pg_sys::CoercionPathType::COERCION_PATH_FUNC
            && function != pg_sys::InvalidOid
    }
}

/// Whether two values of the type are equal only if their texts are.
pub fn has_one_text(type_oid: pg_sys::Oid) -> bool {
    const EXACT: &[pg_sys::Oid] = &[
        pg_sys::BOOLOID,
        pg_sys::INT2OID,
        pg_sys::INT4OID,
        pg_sys::INT8OID,
        pg_sys::OIDOID,
        pg_sys::UUIDOID,
        pg_sys::DATEOID,
        pg_sys::TIMESTAMPOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::BYTEAOID,
    ];
    // Texts of a collation that is not deterministic can be equal and differ; the server compares those.
    EXACT.contains(&type_oid)
}

fn labels(type_oid: pg_sys::Oid) -> Result<Arc<HashMap<u32, Box<str>>>> {
    let query = "SELECT oid, enumlabel::text FROM pg_catalog.pg_enum WHERE enumtypid = $1";
    let pairs = sql::rows(query, &[type_oid.into()], |row| {
        Ok((row.required::<pg_sys::Oid>(1)?.to_u32(), row.required::<String>(2)?.into_boxed_str()))
    })?;
    Ok(Arc::new(pairs.into_iter().collect()))
}

fn output_function(type_oid: pg_sys::Oid) -> pg_sys::Oid {
    let (mut function, mut is_varlena) = (pg_sys::InvalidOid, false);
    // SAFETY: looks up the catalogue and fills the variables.
    unsafe { pg_sys::getTypeOutputInfo(type_oid, &mut function, &mut is_varlena) };
    function
}

fn output(type_oid: pg_sys::Oid) -> Box<pg_sys::FmgrInfo> {
    let mut info = Box::<pg_sys::FmgrInfo>::default();
    // SAFETY: fills `info`, which lives as long as the scan.
    unsafe { pg_sys::fmgr_info(output_function(type_oid), &mut *info) };
    info
}

/// `to_json(anyelement)`, told by a made-up call expression what type its argument has.
fn to_json(type_oid: pg_sys::Oid) -> Box<pg_sys::FmgrInfo> {
    let mut info = Box::<pg_sys::FmgrInfo>::default();
    // SAFETY: the nodes are palloc'd in the current context, which outlives the scan.
    unsafe {
        pg_sys::fmgr_info(pg_sys::Oid::from(pg_sys::F_TO_JSON), &mut *info);
        let argument = pg_sys::makeNullConst(type_oid, -1, pg_sys::InvalidOid);
        let mut arguments = pgrx::PgList::<pg_sys::Const>::new();
        arguments.push(argument);
        let call = pg_sys::makeFuncExpr(
            pg_sys::Oid::from(pg_sys::F_TO_JSON),
            pg_sys::JSONOID,
            arguments.into_pg(),
            pg_sys::InvalidOid,
            pg_sys::InvalidOid,
            pg_sys::CoercionForm::COERCE_EXPLICIT_CALL,
        );
        info.fn_expr = call.cast();
    }
    info
}
