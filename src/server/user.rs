//! Whose rights code runs with: the table's owner for what belongs to the table, the extension's owner for its catalogue.

use pgrx::pg_sys;

/// Another user for a while; dropping it goes back. After an error the server's abort does so.
#[must_use]
pub struct ActingAs {
    user: pg_sys::Oid,
    context: i32,
}

/// What the other user's code may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restriction {
    /// Code of others runs (casts, filters, masks): it cannot change settings, users or temporary objects.
    SecurityRestricted,
    /// Only our own statements run.
    OwnStatements,
}

impl ActingAs {
    /// Becomes `user`.
    pub fn user(user: pg_sys::Oid, restriction: Restriction) -> Self {
        let mut before = ActingAs { user: pg_sys::InvalidOid, context: 0 };
        let flags = match restriction {
            Restriction::SecurityRestricted => {
                pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION
            }
            Restriction::OwnStatements => pg_sys::SECURITY_LOCAL_USERID_CHANGE,
        };
        // SAFETY: both only read and write this backend's state; Drop or the abort restores it.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut before.user, &mut before.context);
            pg_sys::SetUserIdAndSecContext(user, before.context | flags as i32);
        }
        before
    }
}

impl Drop for ActingAs {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: restores what `user` found.
            unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.context) }
        }
    }
}
