//! The SQL functions, one file per verb. Each turns its arguments into a request, asks for the right to do it, has it
//! done and gives back rows; no SQL text and no path is formed here.

mod backup;
mod export;
mod lock_key;
mod reconcile;
mod sets;
