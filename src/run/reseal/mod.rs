//! Backups sealed for the present recipients of their set: after keys were changed, or where a set is encrypted that was
//! not. Each is written anew beside the old one, read back, and takes its place when the transaction commits.

mod container; // a full backup
mod increment; // an incremental
pub mod recover; // what a crash left of it

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use agent_backup_core::container::manifest::Encryption;
use agent_backup_core::crypt::Recipients;
use agent_backup_core::plan::names::Form;
use agent_backup_core::store::{Directory, DirectoryLock};
use pgrx::check_for_interrupts;

use crate::error::{EncryptionError, Error, Result};
use crate::journal_encryption::{self, Held};
use crate::run::erase::{pending, settle};
use crate::run::{keys, place, removal, source};
use crate::server::lock::SetLock;
use crate::server::subtransaction::{Failure, attempt, is_for_the_call};
use crate::server::{privilege, snapshot};

/// A backup or an incremental, and what becomes of it.
pub struct Resealed {
    /// None of an incremental.
    pub backup_id: Option<String>,
    pub kind: String,
    pub path: String,
    /// `keep`, `seal` or `reseal`; `sealed`, `resealed` when that was done; `failed`.
    pub action: &'static str,
    pub before: Vec<String>,
    pub after: Vec<String>,
    pub details: String,
}

/// Refuses a file that this transaction changes already, by an erasure or by sealing it anew.
fn require_unchanged(directory: &Directory, file: &str) -> Result<()> {
    if pending::changes(directory, file) || removal::is_going(directory, file) || removal::is_coming(directory, file) {
        let file = directory.path().join(file).display().to_string();
        return Err(EncryptionError::Changing { file }.into());
    }
    Ok(())
}

/// A directory that files are written to, held alone.
pub struct Place {
    pub directory: Directory,
    pub lock: Rc<DirectoryLock>,
}

/// Says of the backups of a set, or of one, how they would be sealed anew, and does it when that is confirmed.
pub fn run(backup: Option<&str>, set: &str, confirmed: bool) -> Result<Vec<Resealed>> {
    privilege::require_operator()?;
    if confirmed {
        snapshot::require_writable()?;
    }
    let Some(backup) = backup else {
        place::require_known(set)?;
        let mut all = of_backups(set, None, confirmed)?;
        all.extend(increment::of_set(set, confirmed)?);
        return Ok(all);
    };
    match source::locate(backup, set)?.listed {
        Some(listed) => of_backups(&listed.set_name, Some(&listed.backup_id), confirmed),
        None => Err(Error::UnknownBackup { backup: backup.to_owned(), near: vec![] }),
    }
}

fn of_backups(set: &str, only: Option<&str>, confirmed: bool) -> Result<Vec<Resealed>> {
    let _lock = confirmed.then(|| SetLock::acquire(set)).transpose()?;
    let mut places = HashMap::new();
    let mut all = Vec::new();
    for held in journal_encryption::held(set, only)? {
        check_for_interrupts!();
        let recipients = keys::recipients(&journal_encryption::files_of_backup(set, &held.backup_id)?)?;
        all.push(of_backup(set, &held, recipients, confirmed, &mut places)?);
    }
    Ok(all)
}

fn of_backup(
    set: &str,
    held: &Held,
    recipients: Option<Recipients>,
    confirmed: bool,
    places: &mut HashMap<String, Place>,
) -> Result<Resealed> {
    let path = Path::new(&held.directory).join(&held.file_name).display().to_string();
    let planned = Resealed {
        backup_id: Some(held.backup_id.clone()),
        kind: held.kind.clone(),
        path,
        ..plan(Form::of(&held.file_name), &held.key_ids, recipients.as_ref())
    };
    let Some(recipients) = recipients.filter(|_| confirmed && planned.action != KEEP) else { return Ok(planned) };
    let work = || {
        if !places.contains_key(&held.directory) {
            let (directory, lock) = place::to_remove(Path::new(&held.directory), set)?;
            settle::directory(&directory)?;
            recover::run(&directory)?;
            places.insert(held.directory.clone(), Place { directory, lock });
        }
        let missing = || Error::Internal { object: "directory", reason: "it was not opened".into() };
        container::reseal(places.get(&held.directory).ok_or_else(missing)?, held, &recipients)
    };
    done(planned, attempt(work))
}

const KEEP: &str = "keep";

/// What is to be done with a file of this form, sealed for these keys.
fn plan(form: Form, before: &[String], recipients: Option<&Recipients>) -> Resealed {
    let before = before.to_vec();
    let told = |action, after, details: &str| Resealed {
        backup_id: None,
        kind: String::new(),
        path: String::new(),
        action,
        before: before.clone(),
        after,
        details: details.to_owned(),
    };
    let Some(recipients) = recipients else {
        return told(KEEP, before.clone(), "no recipients file is set for it: nothing is decrypted for good");
    };
    let wanted = Encryption::of(recipients);
    match form {
        Form::Plain => told("seal", wanted.key_ids, "it is not encrypted"),
        Form::Sealed if (Encryption { key_ids: before.clone(), ..wanted.clone() }).is_for(recipients) => {
            told(KEEP, before.clone(), "it is sealed for these keys")
        }
        Form::Sealed => told("reseal", wanted.key_ids, "it is sealed for other keys"),
    }
}

/// What came of it: the file's path now, and what was proved.
fn done(planned: Resealed, outcome: std::result::Result<(String, String), Failure>) -> Result<Resealed> {
    Ok(match outcome {
        Ok((path, details)) => {
            let action = if planned.action == "seal" { "sealed" } else { "resealed" };
            Resealed { path, action, details, ..planned }
        }
        Err(Failure { error: Some(error), code, .. }) if is_for_the_call(code) => return Err(error),
        Err(failure) => {
            let after = planned.before.clone();
            Resealed { action: "failed", after, details: failure.message, ..planned }
        }
    })
}
