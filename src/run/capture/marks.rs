//! Restore points around a risky job.

use pgrx::datum::TimestampWithTimeZone;

use crate::error::{Error, Result};
use crate::ident;
use crate::journal_history::{self, Mark};
use crate::journal_tracking;
use crate::server::{privilege, snapshot};

/// Makes a mark of what has committed until now; when.
pub fn mark(name: &str, note: Option<&str>) -> Result<TimestampWithTimeZone> {
    snapshot::require_writable()?;
    if snapshot::is_fixed() {
        return Err(Error::FixedSnapshot);
    }
    if name.is_empty() {
        return Err(Error::InvalidOption { option: "mark", reason: "it is empty".into() });
    }
    if journal_history::mark(name)?.is_some() {
        return Err(Error::MarkExists { mark: name.to_owned() });
    }
    journal_tracking::make_mark(name, note)
}

/// Forgets a mark. Only who made it and operators may.
pub fn drop_mark(name: &str) -> Result<Mark> {
    snapshot::require_writable()?;
    let near = || Ok::<_, Error>(ident::near(name, journal_history::mark_names()?));
    let Some(mark) = journal_history::mark(name)? else {
        return Err(Error::UnknownMark { mark: name.to_owned(), near: near()? });
    };
    if mark.marked_by != ident::session_role()? {
        privilege::require_operator()?;
    }
    journal_tracking::forget_mark(name)?;
    Ok(mark)
}
