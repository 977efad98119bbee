//! What is asked of the running server around the work itself: settings that are pinned and put back, the one
//! snapshot, table locks, texts and messages in the database's encoding, a failure that costs one table and not the call, whose rights code runs with.

pub mod clock;
pub mod convert;
pub mod cron;
pub mod elsewhere;
pub mod encoding;
pub mod facts;
pub mod failpoint;
pub mod foreign; // options of foreign servers
pub mod interrupt; // … while a library blocks
pub mod lock;
pub mod message;
pub mod pin;
pub mod privilege;
pub mod progress;
pub mod results;
pub mod snapshot;
pub mod sql;
pub mod statement;
pub mod subtransaction;
pub mod text;
pub mod user;
