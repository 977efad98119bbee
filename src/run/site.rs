//! Where a backup is written to: the directory of its set, or straight to a store.

use std::path::PathBuf;

use agent_backup_core::plan::names::Form;
use agent_backup_core::store::Directory;

use crate::error::Result;
use crate::run::offsite::direct::Direct;
use crate::run::place::{self, SetPlace};
use crate::run::publish::Goal;
use crate::run::reconcile;
use crate::run::shelf::Shelf;
use crate::server::snapshot;

/// Where a backup is written to.
pub enum Site {
    Here(SetPlace),
    There(Direct),
}

/// The set's directory; what the catalogue did not list there is listed.
pub fn directory_of(set: &str) -> Result<SetPlace> {
    let place = place::of_set(set)?;
    if !snapshot::is_standby() {
        reconcile::before_backup(set, &place.directory)?;
    }
    Ok(place)
}

impl Site {
    pub fn goal(&self) -> Goal<'_> {
        match self {
            Site::Here(place) => Goal::Here(&place.directory),
            Site::There(direct) => Goal::There(direct),
        }
    }

    pub fn shelf(&self) -> Shelf {
        match self {
            Site::Here(place) => Shelf::Local(place.directory.clone()),
            Site::There(direct) => direct.shelf(),
        }
    }

    /// Where rows wait that were read: nothing of what goes to a store stays beside the backups.
    pub fn spools(&self, form: Form) -> Result<Directory> {
        match self {
            Site::Here(place) => place::of_spools(&place.directory, form),
            Site::There(_) => place::of_temporary_files(),
        }
    }

    pub fn path(&self) -> PathBuf {
        self.shelf().path()
    }
}
