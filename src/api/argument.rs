//! Arguments as they come from SQL: a NULL where a value is needed is an error that names the argument.

use crate::error::{Error, Result};

/// The value of an argument that must not be null.
pub fn required<T>(value: Option<T>, argument: &'static str) -> Result<T> {
    value.ok_or(Error::NullArgument { argument })
}

/// The items of an array argument, none of which may be null.
pub fn items(value: Vec<Option<String>>, argument: &'static str) -> Result<Vec<String>> {
    let items = value
        .into_iter()
        .map(|item| item.ok_or_else(|| Error::InvalidOption { option: argument, reason: "it contains a null".into() }));
    items.collect()
}

/// As `items`, for an array that may be null as a whole.
pub fn optional_items(value: Option<Vec<Option<String>>>, argument: &'static str) -> Result<Option<Vec<String>>> {
    value.map(|value| items(value, argument)).transpose()
}
