//! Erasing from an encrypted backup: a block is never sealed twice with one key and number, so the whole file is written anew
//! under a key of its own, for the present recipients of its set, and takes the old one's place when the transaction commits.

use agent_backup_core::container::manifest::Encryption;
use agent_backup_core::container::{ContainerError, Erasure, rewrite};
use agent_backup_core::store::Swap;
use agent_backup_core::stream::sha256_hex;

use crate::error::Result;
use crate::journal::{self, FileFacts, Listed};
use crate::run::erase::backups::{Opened, Written};
use crate::run::erase::search::Found;
use crate::run::source::Source;
use crate::run::{keys, publish, removal};
use crate::server::failpoint;
use crate::{journal_encryption, journal_erasures};

/// None where nobody says for whom to seal it.
pub fn change(
    source: &Source,
    listed: &Listed,
    opened: &Opened,
    found: &Found,
    note: Erasure,
) -> Result<Option<Written>> {
    let files = journal_encryption::files_of_backup(&listed.set_name, &listed.backup_id)?;
    let Some(recipients) = keys::recipients(&files)? else { return Ok(None) };
    let directory = &opened.directory;
    let damaged = |problem: ContainerError| match problem {
        ContainerError::Write { .. } => publish::container_error(problem),
        problem => source.damaged(problem),
    };
    let out = publish::start_container(directory, "erased", Some(&recipients))?;
    let encryption = Some(Encryption::of(&recipients));
    let written = rewrite(&source.container, &found.erased, note, encryption, out).map_err(damaged)?;
    failpoint::reach("erase_publish")?;
    let swap = Swap {
        container: listed.file_name.clone(),
        becomes: listed.file_name.clone(),
        manifest: listed.manifest_name.clone(),
    };
    let new = publish::publish_container(written.out, &swap.waiting_container(), written.sha256)?;
    let unfinished = publish::Unfinished::new(directory, "backup", &new.name);
    let mut staged = publish::stage(directory, "metadata")?;
    staged.append(&written.manifest_bytes)?;
    let beside = staged.publish(&swap.waiting_manifest())?;
    unfinished.keep();
    // From here a rollback takes both files away.
    removal::swap_at_commit(directory, &opened.lock, swap);
    failpoint::reach("erase_published")?;
    let container = FileFacts { name: listed.file_name.clone(), size: new.size, sha256: Some(new.sha256_hex()) };
    let sha256 = Some(sha256_hex(&written.manifest_bytes));
    let beside = FileFacts { name: listed.manifest_name.clone(), size: beside.size, sha256 };
    let record = journal::from_manifest(&written.manifest, directory.path(), &container, &beside, None);
    journal_erasures::relist(&record)?;
    Ok(Some(Written { chunks: None, bytes: new.size + beside.size }))
}
