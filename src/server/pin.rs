//! Settings that decide how values read are pinned while a backup runs and put back after it, also after an error.

use std::collections::BTreeMap;

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::server::encoding::c_string;

/// What the bytes of a file depend on, and how they are read back, whatever the session has set (T48). Recorded in each manifest.
pub const FORMAT_SETTINGS: &[(&str, &str)] = &[
    ("array_nulls", "on"),
    ("bytea_output", "hex"),
    ("DateStyle", "ISO, MDY"),
    ("extra_float_digits", "3"),
    ("IntervalStyle", "postgres"),
    ("lc_monetary", "C"),
    ("quote_all_identifiers", "off"),
    ("row_security", "off"),
    ("search_path", ""),
    ("standard_conforming_strings", "on"),
    ("synchronize_seqscans", "off"),
    ("TimeZone", "UTC"),
    ("xmlbinary", "base64"),
    ("xmloption", "content"),
];

/// Settings changed for a while; dropping it puts them back. After an error the server's abort does so.
#[must_use]
pub struct Pinned {
    level: i32,
}

impl Pinned {
    /// The settings of `FORMAT_SETTINGS`.
    pub fn formats() -> Result<Self> {
        let pinned = Self::nothing();
        for (name, value) in FORMAT_SETTINGS {
            pinned.set(name, value)?;
        }
        Ok(pinned)
    }

    /// Only a search path that no user's object can be found by, for the extension's own queries.
    pub fn search_path() -> Result<Self> {
        let pinned = Self::nothing();
        pinned.set("search_path", "pg_catalog, pg_temp")?;
        Ok(pinned)
    }

    /// A level of its own with nothing in it yet.
    pub fn nothing() -> Self {
        // SAFETY: opens a nesting level that Drop or the transaction's abort closes.
        Pinned { level: unsafe { pg_sys::NewGUCNestLevel() } }
    }

    /// Sets one setting until the guard is dropped.
    pub fn set(&self, name: &str, value: &str) -> Result<()> {
        // SAFETY: reads this backend's state.
        let superuser = unsafe { pg_sys::superuser() };
        self.set_as(
            if superuser { pg_sys::GucContext::PGC_SUSET } else { pg_sys::GucContext::PGC_USERSET },
            name,
            value,
        )
    }

    fn set_as(&self, context: pg_sys::GucContext::Type, name: &str, value: &str) -> Result<()> {
        let (c_name, c_value) = (c_string(name)?, c_string(value)?);
        // SAFETY: both strings are NUL-terminated and are copied by the callee; GUC_ACTION_SAVE belongs to our level.
        let done = unsafe {
            pg_sys::set_config_option(
                c_name.as_ptr(),
                c_value.as_ptr(),
                context,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            )
        };
        if done == 1 {
            Ok(())
        } else {
            Err(Error::Internal { object: "setting", reason: format!("could not set \"{name}\"") })
        }
    }

    /// Sets one setting if this server has it.
    pub fn set_if_known(&self, name: &str, value: &str) -> Result<()> {
        let c_name = c_string(name)?;
        // SAFETY: a NUL-terminated name; missing_ok makes an unknown one a null.
        let known = unsafe { !pg_sys::GetConfigOption(c_name.as_ptr(), true, false).is_null() };
        if known { self.set(name, value) } else { Ok(()) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: closes the level opened in `nothing`; guards are dropped in the reverse of their order.
            // `false` also takes back what code of others SET meanwhile: it must not steer the caller's session.
            unsafe { pg_sys::AtEOXact_GUC(false, self.level) }
        }
    }
}

/// The pinned settings as a manifest records them.
pub fn recorded() -> BTreeMap<String, String> {
    FORMAT_SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
