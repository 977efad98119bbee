//! The certificate of an erasure: what was removed where, what could not be reached, and by when that expires. It names
//! nobody.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::error::Result;
use crate::journal_erased_log;
use crate::run::erase::act::{Acting, Place, Request};
use crate::run::erase::targets::Targets;

/// As JSON.
pub fn of(request: &Request, targets: &Targets, acting: &Acting, places: &[Place]) -> Result<String> {
    let of = |action: &str| -> Vec<Value> {
        places.iter().filter(|place| place.action == action && place.place != "live").map(shown).collect()
    };
    let live: i64 = places.iter().filter(|place| place.place == "live").filter_map(|place| place.row_count).sum();
    let removed: i64 = places.iter().filter(|place| place.action == "erased").filter_map(|place| place.row_count).sum();
    let certificate = json!({
        "erasure_id": acting.erasure_id,
        "erased_at": moment(acting.erased_at),
        "set": request.set,
        "reason": request.reason,
        "subject_columns": targets.shown(),
        "tables": targets.targets.iter().map(|target| target.table.qualified()).collect::<Vec<_>>(),
        "rows_removed": removed,
        "files_rewritten": acting.files,
        "bytes_written": acting.bytes,
        "searched": places.iter().filter(|place| place.action == "nothing").count(),
        "removed": of("erased"),
        "left": of("left"),
        "live_rows": live,
        "not_reachable": not_reachable(acting)?,
    });
    Ok(certificate.to_string())
}

fn shown(place: &Place) -> Value {
    json!({
        "place": place.place,
        "object": place.object,
        "backup_id": place.backup_id,
        "rows": place.row_count,
        "details": place.details,
    })
}

/// What this extension cannot overwrite, in words, each with the moment by which it is gone if that is known.
fn not_reachable(acting: &Acting) -> Result<Value> {
    let expires = journal_erased_log::latest_expiry()?.map(moment);
    let mut all = vec![
        json!({"what": "dead row versions of the archive and the log, until VACUUM and the reuse of their pages",
               "expires_at": null, "how": "VACUUM agent_backup.change_log, agent_backup.archive_rows, and of the live tables"}),
        json!({"what": "write-ahead log and its archive, base backups and replicas of the server",
               "expires_at": null, "how": "by the retention of whoever makes them"}),
        json!({"what": "the server's log, where statements are logged with their values",
               "expires_at": null, "how": "by the rotation of the log"}),
        json!({"what": "exports, copies made by hand, and copies of the backup directory",
               "expires_at": null, "how": "by whoever made them; the tombstone keeps the person out when one is read here"}),
        json!({"what": "free blocks of a file system that writes elsewhere instead of over the old bytes (copy on write, snapshots, SSD)",
               "expires_at": null, "how": "by the file system"}),
    ];
    for (backup_id, destination) in journal_erased_log::offsite_copies(&acting.erasure_id)? {
        all.push(json!({"what": format!("the copy of backup {backup_id} at {destination} as it was before"),
                        "expires_at": expires, "how": "upload() replaces it; a locked one goes with its lock"}));
    }
    Ok(Value::Array(all))
}

fn moment(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
