//! Arguments as they come from SQL: a NULL where a value is needed is an error that names the argument.

use crate::error::{Error, Result};
use crate::server::text::{Json, Text};

/// The value of an argument that must not be null.
pub fn required<T>(value: Option<T>, argument: &'static str) -> Result<T> {
    value.ok_or(Error::NullArgument { argument })
}

/// The items of an array argument, none of which may be null.
pub fn items(value: Vec<Option<Text>>, argument: &'static str) -> Result<Vec<String>> {
    let null = || Error::InvalidOption { option: argument, reason: "it contains a null".into() };
    value.into_iter().map(|item| item.map(String::from).ok_or_else(null)).collect()
}

/// As `items`, for an array that may be null as a whole.
pub fn optional_items(value: Option<Vec<Option<Text>>>, argument: &'static str) -> Result<Option<Vec<String>>> {
    value.map(|value| items(value, argument)).transpose()
}

/// The value of a `jsonb` argument.
pub fn json(value: &Json, argument: &'static str) -> Result<serde_json::Value> {
    let invalid = |error: serde_json::Error| Error::InvalidOption { option: argument, reason: error.to_string() };
    serde_json::from_str(&value.0).map_err(invalid)
}
