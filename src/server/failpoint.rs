//! Steps that a test can make fail: `agent_backup.debug_failpoint = 'step=error'`. Only a superuser can set it.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::server::message;
use crate::settings;

/// Stops here if the named step is to fail, panic or pause.
pub fn reach(step: &str) -> Result<()> {
    match settings::failpoint(step).as_deref() {
        None => Ok(()),
        Some("pause") => pause(step),
        #[allow(clippy::panic, reason = "this is what the test asks for")]
        Some("panic") => panic!("step \"{step}\" was made to panic"),
        Some(_) => Err(Error::Failpoint { step: step.to_owned() }),
    }
}

/// Waits until the session is cancelled; the log says where.
fn pause(step: &str) -> Result<()> {
    message::say(pgrx::PgLogLevel::LOG, &format!("agent_backup pauses at step \"{step}\""));
    loop {
        pgrx::check_for_interrupts!();
        std::thread::sleep(Duration::from_millis(5));
    }
}
