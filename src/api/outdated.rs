//! Functions as the install script of 0.1.0 declares them, which take other arguments now. A database that is not updated yet
//! calls these, whatever it gives them, and is asked for that.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::AuditError;
use crate::server::message::answer;

#[pg_extern(sql = false)]
fn run_backup() -> Result<(), ErrorReport> {
    ask()
}

#[pg_extern(sql = false)]
fn create_set() -> Result<(), ErrorReport> {
    ask()
}

#[pg_extern(sql = false)]
fn add_table() -> Result<(), ErrorReport> {
    ask()
}

fn ask() -> Result<(), ErrorReport> {
    answer(|| Err(AuditError::NotUpdated.into()))
}
