//! Rows on their way: how a value travels off the backend (`wire`), what its text is (`text`, `numeric`, `jsonb`,
//! `array`, `datetime`), and how a row reads in each format (`csv`, `json`, `sql`).

pub mod wire;

pub use wire::{Column, RowBatch, ValueKind};
