//! One statement in another database of the cluster, or in a transaction of its own: a background worker is started for
//! it. The statement and its answer travel in a segment of shared memory that both let go of at the end.

use std::panic::AssertUnwindSafe;

use pgrx::bgworkers::BackgroundWorkerBuilder;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::{PgTryBuilder, pg_guard};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::pg_compat;
use crate::server::encoding;
use crate::server::message;
use crate::server::sql::{self, Texts};
use crate::server::subtransaction::report_of;

/// A database and the role to be there; it must have LOGIN and CONNECT.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub database: pg_sys::Oid,
    pub role: pg_sys::Oid,
}

impl Place {
    /// The name of the database, for a person.
    pub fn database_name(self) -> String {
        // SAFETY: looks up the catalogue; null for one that is gone.
        let name = unsafe { encoding::owned(pg_sys::get_database_name(self.database)) };
        name.and_then(Result::ok).unwrap_or_else(|| self.database.to_u32().to_string())
    }
}

/// Runs one statement there in a transaction that commits whatever becomes of this one; its rows as text. An error of it
/// comes back with its SQLSTATE.
pub fn run(place: Place, statement: &str) -> Result<Texts> {
    let segment = Segment::create(place, statement);
    let worker = Worker::start(&segment).ok_or_else(|| Error::NoWorker { database: place.database_name() })?;
    let answer = segment.receive(&worker);
    worker.finish();
    let ended = || Error::ElsewhereEnded { database: place.database_name() };
    let answer: Answer = answer.and_then(|json| serde_json::from_slice(&json).ok()).ok_or_else(ended)?;
    match answer {
        Answer::Rows(rows) => Ok(rows),
        Answer::Error { message, code, hint } => {
            Err(Error::Elsewhere { database: place.database_name(), message, code, hint })
        }
    }
}

/// What the worker sends.
#[derive(Serialize, Deserialize)]
enum Answer {
    Rows(Texts),
    Error { message: String, code: i32, hint: Option<String> },
}

/// The beginning of the segment; the statement follows, then the queue of the answer.
#[repr(C)]
struct Header {
    database: pg_sys::Oid,
    role: pg_sys::Oid,
    statement: usize,
}

/// Bytes of the queue; a longer answer goes through it in parts.
const QUEUE: usize = 16 * 1024;

/// Where the queue begins: as aligned as the server wants it.
fn queue_offset(statement: usize) -> usize {
    (size_of::<Header>() + statement).next_multiple_of(64)
}

/// Our end of the segment.
struct Segment {
    segment: *mut pg_sys::dsm_segment,
    queue: *mut pg_sys::shm_mq_handle,
}

impl Segment {
    fn create(place: Place, statement: &str) -> Self {
        let (offset, length) = (queue_offset(statement.len()), statement.len());
        // SAFETY: the segment is as long as what is written into it, and belongs to the transaction until Drop lets it go.
        unsafe {
            let segment = pg_sys::dsm_create(offset + QUEUE, 0);
            let base = pg_sys::dsm_segment_address(segment).cast::<u8>();
            base.cast::<Header>().write(Header { database: place.database, role: place.role, statement: length });
            base.add(size_of::<Header>()).copy_from_nonoverlapping(statement.as_ptr(), length);
            let queue = pg_sys::shm_mq_create(base.add(offset).cast(), QUEUE);
            pg_sys::shm_mq_set_receiver(queue, pg_sys::MyProc);
            Segment { segment, queue: pg_sys::shm_mq_attach(queue, segment, std::ptr::null_mut()) }
        }
    }

    /// Waits for the answer; none if the worker ends without one. A cancel ends the wait.
    fn receive(&self, worker: &Worker) -> Option<Vec<u8>> {
        let (mut length, mut data) = (0, std::ptr::null_mut());
        // SAFETY: the queue has both ends; what it gives is copied before anything else is asked of it.
        unsafe {
            pg_sys::shm_mq_set_handle(self.queue, worker.handle);
            let received = pg_sys::shm_mq_receive(self.queue, &mut length, &mut data, false);
            (received == pg_sys::shm_mq_result::SHM_MQ_SUCCESS)
                .then(|| std::slice::from_raw_parts(data.cast::<u8>(), length).to_vec())
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // After an error of the server the abort lets go of it.
        if !std::thread::panicking() {
            // SAFETY: ours since `create`; nothing in it is used any more.
            unsafe { pg_sys::dsm_detach(self.segment) }
        }
    }
}

/// The worker. Dropped before it ended, it is told to end.
struct Worker {
    handle: *mut pg_sys::BackgroundWorkerHandle,
}

impl Worker {
    /// None where no slot is free.
    fn start(segment: &Segment) -> Option<Self> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: the description is copied; the handle lives in this call's memory. An oid has no more bits than a datum.
        let started = unsafe {
            let segment = pg_sys::dsm_segment_handle(segment.segment);
            let builder = BackgroundWorkerBuilder::new("agent_backup")
                .set_type("agent_backup session")
                .set_library("$libdir/agent_backup")
                .set_function("agent_backup_elsewhere")
                .set_argument(Some(pg_sys::Datum::from(segment)))
                .set_notify_pid(pg_sys::MyProcPid)
                .enable_spi_access();
            let mut worker = pg_sys::BackgroundWorker::from(&builder);
            pg_sys::RegisterDynamicBackgroundWorker(&mut worker, &mut handle)
        };
        started.then_some(Worker { handle })
    }

    /// Waits until its slot is free again and its session is gone from the database.
    fn finish(self) {
        // SAFETY: the handle is that of `start`; a cancel ends the wait.
        unsafe { pg_sys::WaitForBackgroundWorkerShutdown(self.handle) };
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // SAFETY: as above; for one that has ended it does nothing.
        unsafe { pg_sys::TerminateBackgroundWorker(self.handle) }
    }
}

/// Where the worker begins. It ends without an answer where the database or the role does not let it in.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn agent_backup_elsewhere(segment: pg_sys::Datum) {
    // SAFETY: the segment was laid out by `Segment::create`, and stays mapped until this process ends. Nobody writes into
    // the statement any more.
    unsafe {
        pg_compat::end_on_sigterm();
        pg_sys::BackgroundWorkerUnblockSignals();
        let segment = pg_sys::dsm_attach(segment.value() as pg_sys::dsm_handle);
        if segment.is_null() {
            return; // nobody waits any more
        }
        let base = pg_sys::dsm_segment_address(segment).cast::<u8>();
        let header = &*base.cast::<Header>();
        let queue = base.add(queue_offset(header.statement)).cast::<pg_sys::shm_mq>();
        pg_sys::shm_mq_set_sender(queue, pg_sys::MyProc);
        let queue = pg_sys::shm_mq_attach(queue, segment, std::ptr::null_mut());
        pg_sys::BackgroundWorkerInitializeConnectionByOid(header.database, header.role, 0);
        let statement = std::slice::from_raw_parts(base.add(size_of::<Header>()), header.statement);
        let answer = serde_json::to_vec(&answer(&String::from_utf8_lossy(statement))).unwrap_or_default();
        // Where the other end is gone, the answer is for nobody.
        pg_sys::shm_mq_send(queue, answer.len(), answer.as_ptr().cast(), false, true);
        pg_sys::dsm_detach(segment);
    }
}

/// The statement in a transaction; what an error says comes after its rollback, when the catalogue can be read.
fn answer(statement: &str) -> Answer {
    match in_transaction(|| sql::texts(statement)) {
        Ok(rows) => Answer::Rows(rows),
        Err(failed) => Answer::Error { message: failed.message(), code: failed.code(), hint: failed.hint() },
    }
}

/// Does work in a transaction of a worker, which is committed or rolled back.
pub fn in_transaction<T>(work: impl FnOnce() -> Result<T>) -> std::result::Result<T, Failed> {
    let done = PgTryBuilder::new(AssertUnwindSafe(|| {
        // SAFETY: as a session does around a statement; an error is rolled back below.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        }
        let value = work()?;
        // SAFETY: as above.
        unsafe {
            pg_sys::PopActiveSnapshot();
            pg_sys::CommitTransactionCommand();
        }
        Ok(value)
    }))
    .catch_others(|caught| Err(Failed::Server(caught)))
    .execute();
    if done.is_err() {
        // SAFETY: ends the transaction that failed.
        unsafe { pg_sys::AbortCurrentTransaction() };
    }
    done
}

/// Why it was rolled back. Its texts are asked for after that, when the catalogue can be read.
pub enum Failed {
    Ours(Error),
    Server(CaughtError),
}

impl Failed {
    pub fn message(&self) -> String {
        match self {
            Failed::Ours(error) => error.to_string(),
            Failed::Server(caught) => message::original(report_of(caught)),
        }
    }

    /// SQLSTATE, as the server has it.
    pub fn code(&self) -> i32 {
        match self {
            Failed::Ours(error) => error.code() as i32,
            Failed::Server(caught) => report_of(caught).sql_error_code() as i32,
        }
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            Failed::Ours(error) => error.hint(),
            Failed::Server(caught) => report_of(caught).hint().map(str::to_owned),
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Ours(error)
    }
}
