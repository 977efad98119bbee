//! Who may do what. Writing server files asks for what COPY asks for, or for the role of the backup directory.

use std::path::{Path, PathBuf};

use pgrx::pg_sys;

use crate::error::evidence::EvidenceError;
use crate::error::{EncryptionError, Error, Result};
use crate::{ident, settings};

/// Who reads backups and restores from them. What it may call is a matter of grants, see sql/99_access.sql.
const RESTORER: &str = "agent_backup_restorer";

/// Who reads what was done, and changes nothing.
const AUDITOR: &str = "agent_backup_auditor";

/// The caller may write a file at `path`: a superuser, a member of `pg_write_server_files`, or, inside the backup
/// directory, a member of `agent_backup.directory_role` or of the restorer, which saves what it is about to overwrite.
pub fn require_file_writer(path: &Path) -> Result<()> {
    let inside = leads_to(path).starts_with(leads_to(&settings::directory()));
    if is_file_writer() || (inside && (is_directory_role() || is_member(RESTORER))) {
        return Ok(());
    }
    let role = settings::directory_role().filter(|role| inside && ident::role_oid(role).is_some());
    Err(Error::MayNotWriteFiles {
        path: path.display().to_string(),
        grantable: role.map_or("pg_write_server_files".to_owned(), |role| ident::quote(&role)),
    })
}

/// The caller may read the backup at `path`: a superuser, a member of `pg_read_server_files`, or who may write there.
pub fn require_backup_reader(path: &Path) -> Result<()> {
    if is_file_reader() {
        return Ok(());
    }
    require_file_writer(path).map_err(|error| match error {
        Error::MayNotWriteFiles { path, grantable } => Error::MayNotReadBackup {
            file: path,
            grantable: grantable.replace("pg_write_server_files", "pg_read_server_files"),
        },
        other => other,
    })
}

/// The caller may look at the directory of the backups, though not into them: who may read them, or an auditor.
pub fn require_overseer() -> Result<()> {
    if is_member(AUDITOR) { Ok(()) } else { require_backup_reader(&settings::directory()) }
}

/// Where a path leads, of which the last components may not exist yet: a link inside the directory can lead out of it.
fn leads_to(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|ancestor| Some((ancestor, ancestor.canonicalize().ok()?)));
    match found.map(|(ancestor, canonical)| (path.strip_prefix(ancestor), canonical)) {
        Some((Ok(rest), canonical)) => canonical.join(rest),
        _ => path.to_owned(),
    }
}

/// The caller may change sets and the catalogue: as for writing into the backup directory.
pub fn require_operator() -> Result<()> {
    if is_file_writer() || is_directory_role() {
        return Ok(());
    }
    let role = settings::directory_role().unwrap_or_else(|| "pg_write_server_files".to_owned());
    Err(Error::MayNotConfigure { grantable: ident::quote(&role) })
}

/// The caller may say for whom backups are encrypted, by a file on the server: a superuser or a member of
/// `pg_read_server_files`, who is also an operator.
pub fn require_key_chooser() -> Result<()> {
    require_operator()?;
    if is_file_reader() { Ok(()) } else { Err(EncryptionError::MayNotChange.into()) }
}

/// The caller may read any file of the server.
pub fn is_file_reader() -> bool {
    // SAFETY: looks up the catalogue for the current user.
    unsafe { pg_sys::has_privs_of_role(pg_sys::GetUserId(), pg_sys::Oid::from(pg_sys::ROLE_PG_READ_SERVER_FILES)) }
}

/// The caller may read all that is told of backups: an auditor, or who may change sets.
pub fn require_auditor() -> Result<()> {
    if is_member(AUDITOR) || is_file_writer() || is_directory_role() {
        return Ok(());
    }
    Err(EvidenceError::MayNotRead { grantable: AUDITOR.to_owned() }.into())
}

/// The caller may read all rows of a table: SELECT on it, and no policy that would hide rows (T73).
pub fn require_reader(table: pg_sys::Oid, display: &str) -> Result<()> {
    // SAFETY: looks up the catalogue for the current user; the table is locked by the caller.
    let (granted, policies) = unsafe {
        let user = pg_sys::GetUserId();
        let granted = pg_sys::pg_class_aclcheck(table, user, pg_sys::ACL_SELECT as pg_sys::AclMode);
        (granted, pg_sys::check_enable_rls(table, pg_sys::InvalidOid, true))
    };
    if granted != pg_sys::AclResult::ACLCHECK_OK {
        return Err(Error::MayNotRead { table: display.to_owned() });
    }
    if policies == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32 {
        return Err(Error::RowSecurity { table: display.to_owned() });
    }
    Ok(())
}

/// The caller has the rights of the table's owner, as whom a filter or mask will run.
pub fn require_definer(owner: pg_sys::Oid, display: &str) -> Result<()> {
    // SAFETY: looks up the catalogue for the current user.
    if unsafe { pg_sys::has_privs_of_role(pg_sys::GetUserId(), owner) } {
        return Ok(());
    }
    Err(Error::MayNotDefine { table: display.to_owned() })
}

/// Who gave a filter or mask still has the rights of the table's owner: the table may be another one by now.
pub fn require_still_definer(role: &str, owner: pg_sys::Oid, display: &str) -> Result<()> {
    // SAFETY: as above.
    if ident::role_oid(role).is_some_and(|role| unsafe { pg_sys::has_privs_of_role(role, owner) }) {
        return Ok(());
    }
    Err(Error::DefinerLost { table: display.to_owned(), role: role.to_owned() })
}

/// The caller may write any file of the server.
pub fn is_file_writer() -> bool {
    // SAFETY: looks up the catalogue for the current user.
    unsafe {
        pg_sys::superuser()
            || pg_sys::has_privs_of_role(pg_sys::GetUserId(), pg_sys::Oid::from(pg_sys::ROLE_PG_WRITE_SERVER_FILES))
    }
}

fn is_directory_role() -> bool {
    settings::directory_role().is_some_and(|role| is_member(&role))
}

fn is_member(role: &str) -> bool {
    // SAFETY: as above; the role exists.
    ident::role_oid(role).is_some_and(|role| unsafe { pg_sys::has_privs_of_role(pg_sys::GetUserId(), role) })
}

/// The caller has the rights of the table's owner, which replacing its rows asks for, as TRUNCATE and REFRESH do.
pub fn require_owner(owner: pg_sys::Oid, display: &str) -> Result<()> {
    // SAFETY: looks up the catalogue for the current user.
    if unsafe { pg_sys::has_privs_of_role(pg_sys::GetUserId(), owner) } {
        return Ok(());
    }
    Err(Error::MayNotRestore { table: display.to_owned() })
}

/// The caller is a superuser: statements that stand in a file run only for one (T82).
pub fn require_superuser(what: &'static str) -> Result<()> {
    // SAFETY: as above.
    if unsafe { pg_sys::superuser() } { Ok(()) } else { Err(Error::NotSuperuser { what }) }
}
