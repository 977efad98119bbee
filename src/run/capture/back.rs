//! Tables brought back: to a moment, or to what they were before some changes since a mark.

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident;
use crate::journal_changes;
use crate::run::capture::moment::{self, Moment};
use crate::run::capture::undo::{self, Doing, Outcome};
use crate::run::restore::after;
use crate::run::restore::plan::Step;
use crate::server::pin::Pinned;
use crate::server::{failpoint, snapshot};
use crate::table::catalog::Table;

/// Whose changes are taken back; all where nothing is named.
#[derive(Debug, Default)]
pub struct Whose<'a> {
    pub application: Option<&'a str>,
    pub session_user: Option<&'a str>,
    pub transaction: Option<&'a str>,
}

/// What became of the tables, or would.
pub struct Report {
    pub outcomes: Vec<Outcome>,
    /// What was checked and refreshed then.
    pub steps: Vec<Step>,
    /// How it is known what had committed.
    pub order: &'static str,
}

/// Brings one table back to a moment.
pub fn table_as_of(table: &str, moment: &Moment, doing: Doing) -> Result<Report> {
    let oid = ident::resolve(table)?;
    run(&[oid], moment, &Whose::default(), doing)
}

/// Takes changes since a mark back, of the tables named or of all that are tracked.
pub fn undo(mark: &str, tables: Option<&[String]>, whose: &Whose, doing: Doing) -> Result<Report> {
    let moment = Moment::marked(mark)?;
    let oids = match tables {
        Some([]) => {
            let reason = "it is empty; null means all tracked tables".to_owned();
            return Err(Error::InvalidOption { option: "tables", reason });
        }
        Some(tables) => tables.iter().map(|table| ident::resolve(table)).collect::<Result<Vec<_>>>()?,
        None => journal_changes::tracked_relations()?,
    };
    run(&oids, &moment, whose, doing)
}

fn run(oids: &[pg_sys::Oid], moment: &Moment, whose: &Whose, doing: Doing) -> Result<Report> {
    snapshot::require_writable()?;
    if snapshot::is_fixed() {
        return Err(Error::FixedSnapshot);
    }
    let plans = Pinned::nothing();
    plans.set("jit", "off")?;
    let mut oids = oids.to_vec();
    // In one order for all, and each once.
    oids.sort_by_key(|oid| oid.to_u32());
    oids.dedup();
    let tables = oids.iter().map(|oid| undo::lock(*oid, doing)).collect::<Result<Vec<Table>>>()?;
    let condition = condition(whose)?;
    let mut outcomes = Vec::new();
    for table in &tables {
        let tracking = moment::covered(&table.name.display(), Some(table.oid), moment)?;
        let mut later = moment.later(tracking.id)?;
        if let Some(condition) = &condition {
            later = later.and(condition);
        }
        outcomes.push(undo::table(table, later.selection(), doing)?);
        failpoint::reach("undone")?;
    }
    let steps = if doing == Doing::Apply { finish(&oids)? } else { Vec::new() };
    Ok(Report { outcomes, steps, order: moment.order()? })
}

fn finish(oids: &[pg_sys::Oid]) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    steps.extend(after::check_foreign_keys(&after::foreign_keys(oids)?)?);
    steps.extend(after::refresh_views(oids)?);
    Ok(steps)
}

/// SQL over the entry `l`.
fn condition(whose: &Whose) -> Result<Option<String>> {
    let mut all = Vec::new();
    if let Some(application) = whose.application {
        all.push(format!("l.application_name = {}", ident::literal(application)));
    }
    if let Some(user) = whose.session_user {
        all.push(format!("l.session_user_name = {}", ident::literal(user)));
    }
    if let Some(transaction) = whose.transaction {
        let number: u64 = transaction.parse().map_err(|_| Error::InvalidOption {
            option: "transaction",
            reason: format!("\"{transaction}\" is no number of a transaction, as record_history shows it"),
        })?;
        all.push(format!("l.xid = '{number}'::pg_catalog.xid8"));
    }
    Ok((!all.is_empty()).then(|| all.join(" AND ")))
}
