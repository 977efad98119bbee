//! Whether the keys of encrypted sets can be used, before a backup fails for them or a restore finds that it has none.

use std::path::PathBuf;

use crate::error::{EncryptionError, Error, Result};
use crate::ident;
use crate::journal_encryption::{self, EncryptedSet};
use crate::run::{blob, keys, place};
use crate::server::privilege;
use crate::settings;

/// One set.
pub struct State {
    pub set: String,
    /// `OK`, `WARNING` or `FAILED`.
    pub severity: &'static str,
    pub reason: String,
    pub action: Option<String>,
}

/// All sets whose backups are encrypted from now on.
pub fn all() -> Result<Vec<State>> {
    let sets = journal_encryption::encrypted_sets()?;
    match privilege::require_backup_reader(&settings::directory()) {
        Err(error) if !sets.is_empty() => Ok(vec![State {
            set: "backup sets".to_owned(),
            severity: "WARNING",
            reason: format!("it cannot be looked at: {error}"),
            action: error.hint(),
        }]),
        _ => sets.into_iter().map(of_set).collect(),
    }
}

fn of_set(set: EncryptedSet) -> Result<State> {
    let state =
        |severity, reason: String, action: Option<String>| State { set: set.name.clone(), severity, reason, action };
    let recipients = match keys::recipients_in(&set.recipients_file) {
        Ok(recipients) => recipients,
        Err(error) => return Ok(state("FAILED", format!("no backup can be made: {error}"), error.hint())),
    };
    if let Some(reason) = unopened(&set)? {
        let action = "SHOW agent_backup.identity_file;".to_owned();
        return Ok(state("WARNING", format!("the newest backup cannot be opened: {reason}"), Some(action)));
    }
    if set.plain > 0 {
        let reason = format!("{} of its backups are not encrypted", set.plain);
        let action =
            format!("SELECT * FROM agent_backup.reseal(set_name => {}, confirm => true);", ident::literal(&set.name));
        return Ok(state("WARNING", reason, Some(action)));
    }
    let ids = recipients.key_ids().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let opens = match settings::identity_file() {
        Some(_) => "this server can open its backups",
        None => "this server has no identity file and cannot open its backups",
    };
    Ok(state("OK", format!("its backups are encrypted for key {ids}; {opens}"), None))
}

/// Why the newest encrypted backup cannot be opened by a server that has keys. That it is gone or damaged is told elsewhere.
fn unopened(set: &EncryptedSet) -> Result<Option<String>> {
    let (Some(_), Some((directory, file))) = (settings::identity_file(), &set.newest) else { return Ok(None) };
    let path = PathBuf::from(directory);
    let stored = match place::for_reading(&path) {
        Ok(directory) => blob::of_file(&directory, file),
        Err(Error::Store(error)) => Err(error),
        Err(error) => return Err(error),
    };
    let Ok(stored) = stored else { return Ok(None) };
    match blob::opened(stored, &path.join(file).display().to_string()) {
        Ok(_) => Ok(None),
        Err(error) if error.is_locked() || matches!(error, EncryptionError::Downgraded { .. }) => {
            Ok(Some(error.to_string()))
        }
        Err(_damaged) => Ok(None),
    }
}
