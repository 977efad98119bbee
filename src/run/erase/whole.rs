//! Small files that are written anew as a whole, where they stand, under a redo file like that of a backup.

use std::fs::File;
use std::io::Read;
use std::rc::Rc;

use agent_backup_core::codec::split;
use agent_backup_core::container::Redo;
use agent_backup_core::container::redo::Place;
use agent_backup_core::plan::Format;
use agent_backup_core::store::{Directory, DirectoryLock};
use agent_backup_core::stream::{plain_reader, sha256_hex};

use crate::error::{Error, Result};
use crate::run::erase::act::Acting;
use crate::run::erase::settle::{self, Hold};
use crate::run::erase::{backups, pending};
use crate::run::publish;
use crate::server::failpoint;

/// Plain bytes of the largest that is read into memory.
const LIMIT: u64 = 4 << 30;

/// A file of a directory, open for writing and nobody else's.
pub struct Held {
    pub file: File,
    pub stored: Vec<u8>,
}

/// Opens, locks and reads one. None where another session has it, or this transaction changes it already.
pub fn hold(directory: &Directory, name: &str) -> Result<Option<Held>> {
    if pending::changes(directory, name) {
        return Ok(None);
    }
    let mut file = directory.open_to_change(name)?;
    if !settle::lock(&file, Hold::Alone)? {
        return Ok(None);
    }
    let mut stored = Vec::new();
    file.read_to_end(&mut stored).map_err(Error::Write)?;
    Ok(Some(Held { file, stored }))
}

/// Reads one without holding it.
pub fn stored(directory: &Directory, name: &str) -> Result<Vec<u8>> {
    let mut stored = Vec::new();
    directory.open_file(name)?.read_to_end(&mut stored).map_err(Error::Write)?;
    Ok(stored)
}

/// The plain bytes of a file, whatever it is compressed with.
pub fn plain(stored: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    plain_reader(stored, LIMIT).and_then(|mut reader| reader.read_to_end(&mut plain)).map_err(Error::Write)?;
    Ok(plain)
}

/// The rows of a text.
pub fn rows(format: Format, plain: &[u8]) -> Vec<&[u8]> {
    split::rows(format, plain).collect()
}

/// A manifest beside a file.
pub struct Beside {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Has a file replaced by `new` when the transaction commits, and the manifest beside it, if it has one. Bytes written.
pub fn replace(
    directory: &Directory,
    lock: Option<&Rc<DirectoryLock>>,
    name: &str,
    held: Held,
    new: &[u8],
    beside: Option<Beside>,
    acting: &Acting,
) -> Result<u64> {
    let beside = beside.unwrap_or(Beside { name: String::new(), bytes: Vec::new() });
    let mut redo = publish::stage(directory, "redo")?;
    redo.append(new)?;
    redo.append(&beside.bytes)?;
    let length = new.len() as u64;
    let plan = Redo {
        file: name.to_owned(),
        manifest_file: beside.name,
        erasure_id: acting.erasure_id.clone(),
        backup_id: String::new(),
        old_manifest_sha256: sha256_hex(&held.stored),
        new_manifest_sha256: sha256_hex(new),
        old_bytes: held.stored.len() as u64,
        new_bytes: length,
        manifest: Place { offset: 0, length: beside.bytes.len() as u64, at: length, sha256: sha256_hex(&beside.bytes) },
        ranges: vec![Place { offset: 0, length, at: 0, sha256: sha256_hex(new) }],
    };
    let end = redo.size();
    plan.seal(end, &mut redo).map_err(publish::container_error)?;
    let bytes = redo.size() + length + beside.bytes.len() as u64;
    backups::reserve(&held.file, held.stored.len() as u64, length)?;
    failpoint::reach("erase_publish")?;
    let redo_name = settle::redo_name(name);
    redo.publish(&redo_name)?;
    pending::redo_at_commit(directory, lock, held.file, redo_name);
    Ok(bytes)
}
