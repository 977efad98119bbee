//! `set_encryption`, `reseal`, `encryption_state`.

use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::required;
use crate::journal_encryption;
use crate::run::audit::{self, Act, audited};
use crate::run::reseal::{self, Resealed};
use crate::run::{encrypted, keys};
use crate::server::message::answer;
use crate::server::text::Text;
use crate::server::{privilege, snapshot};

/// Says for whom the backups of a set are encrypted from now on; returns the ids of the keys.
///
/// `SELECT agent_backup.set_encryption('billing', '/etc/agent_backup/recipients');`
///
/// `recipients_file` is the absolute path of a file on the server with a line `age1...` for each public key; it must be
/// writable by nobody else, and is read again at each backup. Null leaves it to `agent_backup.recipients_file`: without
/// one the backups are not encrypted, and no key is returned. Backups that are there stay as they are until `reseal`.
///
/// Errors: 42501 without the rights to write backups and to read server files, 42704 for an unknown set, 58P01 or F0000
/// for a file that is missing or not acceptable.
#[pg_extern(schema = "agent_backup", name = "set_encryption")]
fn set_encryption(set_name: Option<Text>, recipients_file: Option<Text>) -> Result<Vec<Text>, ErrorReport> {
    audited(Act::new("set_encryption").of(set_name.as_ref()), || {
        snapshot::require_writable()?;
        privilege::require_key_chooser()?;
        let set = required(set_name, "set_name")?;
        if let Some(file) = &recipients_file {
            keys::recipients_in(file)?;
        }
        audit::note("recipients_file", recipients_file.as_deref());
        journal_encryption::set_file(&set, recipients_file.as_deref())?;
        let recipients = keys::recipients(&crate::journal::set(&set)?.recipients_files)?;
        let ids = recipients.map(|recipients| recipients.key_ids()).unwrap_or_default();
        audit::note("key_ids", ids.iter().map(ToString::to_string).collect::<Vec<_>>());
        Ok(ids.iter().map(|id| id.to_string().into()).collect())
    })
}

/// Seals the backups of a set, and its incrementals, for the present recipients of the set; without `confirm` it only says
/// which.
///
/// `SELECT * FROM agent_backup.reseal(confirm => true);`
///
/// After a key was added or taken away, and after encryption was switched on for a set that has plain backups. `backup` is
/// one of them only: `latest`, an id or a path. One row each: `action` is `seal` (it is plain), `reseal` (for other keys)
/// or `keep`; when confirmed `sealed`, `resealed`, or `failed`, with the reason in `details`. Each is written anew beside
/// the old file, read back, and takes its place when the transaction commits; a rollback leaves all as it was. What is
/// sealed needs `agent_backup.identity_file` to be opened; what is plain does not.
///
/// Errors: 42501 without the right to write backups, 42704 for an unknown set or backup, 55P03 while another session works
/// on the set, 58P01 or F0000 for a recipients file that is missing or not acceptable, 25006 when confirmed on a standby,
/// 0A000 at PREPARE TRANSACTION after it.
#[pg_extern(schema = "agent_backup", name = "reseal")]
fn reseal(
    backup: default!(Option<Text>, "NULL"),
    set_name: default!(Option<Text>, "'agent_sdk'"),
    confirm: default!(Option<bool>, "false"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(backup_id, Option<Text>),
            name!(kind, Text),
            name!(backup_file, Text),
            name!(action, &'static str),
            name!(key_ids_before, Vec<Text>),
            name!(key_ids_after, Vec<Text>),
            name!(details, Text),
        ),
    >,
    ErrorReport,
> {
    let texts = |ids: Vec<String>| ids.into_iter().map(Text::from).collect::<Vec<_>>();
    let row = |one: Resealed| {
        let backup_id = one.backup_id.map(Text::from);
        (
            backup_id,
            one.kind.into(),
            one.path.into(),
            one.action,
            texts(one.before),
            texts(one.after),
            one.details.into(),
        )
    };
    audited(Act::new("reseal").on(backup.as_ref()).of(set_name.as_ref()), || {
        let (set, confirmed) = (required(set_name, "set_name")?, required(confirm, "confirm")?);
        audit::note("confirm", confirmed);
        let all = reseal::run(backup.as_deref(), &set, confirmed)?;
        Ok(TableIterator::new(all.into_iter().map(row).collect::<Vec<_>>()))
    })
}

/// Says of each set whose backups are encrypted whether its keys can be used: what the view `health` shows of them.
///
/// `SELECT * FROM agent_backup.encryption_state();`
///
/// `severity` is `FAILED` where no backup can be made, since the recipients file cannot be used, `WARNING` where the newest
/// backup cannot be opened with the identity file that is set, or backups are not encrypted yet, else `OK`. Who may not read
/// backups gets one row that says so.
#[pg_extern(schema = "agent_backup", name = "encryption_state")]
fn encryption_state() -> Result<
    TableIterator<
        'static,
        (name!(set_name, Text), name!(severity, &'static str), name!(reason, Text), name!(action, Option<Text>)),
    >,
    ErrorReport,
> {
    answer(|| {
        let row = |state: encrypted::State| {
            (state.set.into(), state.severity, state.reason.into(), state.action.map(Text::from))
        };
        Ok(TableIterator::new(encrypted::all()?.into_iter().map(row).collect::<Vec<_>>()))
    })
}
