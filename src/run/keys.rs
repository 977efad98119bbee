//! The files of keys: for whom backups are sealed, and what opens them here. They are read anew each time: a file that was
//! broken or taken away since is found when it is wanted, and a key stays in memory no longer than it is used.

use std::path::Path;

use agent_backup_core::crypt::{Identities, Recipients};

use crate::error::{EncryptionError, Result};
use crate::settings;

/// The keys in all of these files; none where there is no file. Errors: `Recipients`.
pub fn recipients(files: &[String]) -> Result<Option<Recipients>> {
    let mut all: Option<Recipients> = None;
    for file in files {
        let more = recipients_in(file)?;
        all = Some(match all {
            Some(known) => known.and(more),
            None => more,
        });
    }
    Ok(all)
}

/// The keys in a file. Errors: `Recipients`.
pub fn recipients_in(file: &str) -> Result<Recipients> {
    let unusable = |problem| EncryptionError::Recipients { path: file.to_owned(), problem };
    Ok(Recipients::from_file(Path::new(file)).map_err(unusable)?)
}

/// What this server may open; none where nothing is set. Errors: `Identity`.
pub fn identities() -> std::result::Result<Option<Identities>, EncryptionError> {
    let Some(file) = settings::identity_file() else { return Ok(None) };
    let unusable = |problem| EncryptionError::Identity { path: file.clone(), problem };
    Identities::from_file(Path::new(&file)).map(Some).map_err(unusable)
}
