//! Who this process is to the system, and where it may write.

use std::path::Path;

use nix::unistd::{AccessFlags, User, access, geteuid};

/// The name of the user that the server runs as, or its number where it has none.
pub fn system_user() -> String {
    let user = User::from_uid(geteuid()).ok().flatten();
    user.map_or_else(|| geteuid().to_string(), |user| user.name)
}

/// Whether files can be made in a directory.
pub fn may_write(directory: &Path) -> bool {
    access(directory, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}
