//! The sections of the page, in their order.

mod access;
mod controls;
mod health;
mod history;
mod privacy;
mod recovery;
mod retention;
mod sets;

use super::Page;
use super::html::Html;

pub struct Section {
    pub id: &'static str,
    pub title: &'static str,
    pub write: fn(&mut Html, &Page),
}

pub const ALL: [Section; 11] = [
    Section { id: "controls", title: "SOC 2, control by control", write: controls::write },
    Section { id: "backups", title: "Backups", write: sets::write },
    Section { id: "events", title: "What went wrong", write: history::events },
    Section { id: "verification", title: "Verification", write: history::verification },
    Section { id: "drills", title: "Drills and restores", write: recovery::drills },
    Section { id: "objectives", title: "Recovery objectives", write: recovery::objectives },
    Section { id: "retention", title: "Retention", write: retention::write },
    Section { id: "copies", title: "Copies off-site and erasures", write: privacy::write },
    Section { id: "access", title: "Who may do what", write: access::rights },
    Section { id: "audit", title: "Audit log and jobs", write: access::audit },
    Section { id: "health", title: "Health now", write: health::write },
];
