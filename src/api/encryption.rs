//! `set_encryption`.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::required;
use crate::journal_encryption;
use crate::run::keys;
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
    answer(|| {
        snapshot::require_writable()?;
        privilege::require_key_chooser()?;
        let set = required(set_name, "set_name")?;
        if let Some(file) = &recipients_file {
            keys::recipients_in(file)?;
        }
        journal_encryption::set_file(&set, recipients_file.as_deref())?;
        let recipients = keys::recipients(&crate::journal::set(&set)?.recipients_files)?;
        let ids = recipients.map(|recipients| recipients.key_ids()).unwrap_or_default();
        Ok(ids.iter().map(|id| id.to_string().into()).collect())
    })
}
