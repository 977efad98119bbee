//! Rows on their way: how a value travels off the backend (`wire`), what its text is (`value` and the decoders below
//! it), how a row reads in each format (`csv`, `json`, `sql`), how the rows are found again (`split`), which chunk
//! may hold a key (`keys`), what names a person in a row (`subject`), what can be made of the fields (`project`, `image`, `load`), and how a change is kept
//! (`change`, `logged`).

mod array;
pub mod change;
mod csv;
mod datetime;
mod encoder;
mod error;
mod fields;
#[cfg(test)]
mod fixtures;
pub mod image;
mod json;
mod jsonb;
pub mod keys;
pub mod load;
mod logged;
mod number;
mod numeric;
mod project;
#[cfg(test)]
mod properties;
mod raw;
#[cfg(test)]
mod speed;
pub mod split;
mod sql;
#[cfg(test)]
mod stored;
pub mod subject;
mod text;
mod value;
pub mod wire;

pub use encoder::Encoder;
pub use error::EncodeError;
pub use fields::{CsvFields, NotCsv};
pub use logged::{Before, Logged, Logger};
pub use project::{Projection, Shown, json_object};
pub use wire::{Column, RowBatch, ValueKind};
