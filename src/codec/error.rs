//! What can go wrong between stored bytes and text.

/// Why a batch could not be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The row's text passes 1 GiB - 1, which no PostgreSQL could read back; `row` counts from 0 in the scan.
    #[error("row {row} of the scan is longer than 1 GiB as text")]
    RowTooLong { row: u64 },
    /// The bytes of a value are not what its type stores.
    #[error("row {row} of the scan, column \"{column}\": the stored value cannot be read: {reason}")]
    Malformed { row: u64, column: String, reason: &'static str },
    /// The batch does not hold the rows it says.
    #[error("batch {sequence} of the scan is broken: {reason}")]
    BrokenBatch { sequence: u64, reason: &'static str },
}

/// The same within one row, where neither row nor column is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Malformed(&'static str),
    TooLong,
}

pub(super) type Outcome = Result<(), Fault>;
