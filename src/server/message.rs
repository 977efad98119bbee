//! Messages in a database that is not UTF-8. pgrx hands them on as Rust strings: an error of the server is read as if it
//! were UTF-8, and raised again as UTF-8. A callback of the error stack, which the server calls for each message while it
//! is made, notes the bytes before pgrx reads them, and puts them back when pgrx raises it again.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};

use pgrx::PgLogLevel;
use pgrx::pg_sys::panic::{ErrorReport, ErrorReportWithLevel};
use pgrx::pg_sys::{self, ErrorContextCallback, ErrorData};

use crate::error::Result;
use crate::server::encoding::{self, Encoding};

/// Does what an SQL function is called for. Each goes through here, so that its errors, and the server's, reach the
/// client in letters that it knows.
#[track_caller]
pub fn answer<T>(work: impl FnOnce() -> Result<T>) -> std::result::Result<T, ErrorReport> {
    if Encoding::of_database() == Encoding::Utf8 {
        return match work() {
            Ok(value) => Ok(value),
            Err(error) => Err(error.into_report()),
        };
    }
    // After an error it stays until the server has raised it, which takes it off the stack.
    let listening = Listening::start();
    match work() {
        Ok(value) => {
            listening.stop();
            Ok(value)
        }
        Err(error) => {
            let report = error.into_report();
            let rust = Texts::of_report(&report);
            let server = rust.map(|text| encoding::c_string_to_show(&text.to_string_lossy()));
            PASSING.set(Some(Passing { rust, server }));
            Err(report)
        }
    }
}

/// The message of an error that pgrx caught, as it was before pgrx read it.
pub fn original(report: &ErrorReportWithLevel) -> String {
    let noted = PASSING.with_borrow(|passing| {
        let noted =
            passing.as_ref().filter(|passing| passing.rust.message.to_bytes() == report.message().as_bytes())?;
        Some(noted.server.message.clone())
    });
    noted.map_or_else(|| report.message().to_owned(), |message| encoding::shown(message.to_bytes()))
}

/// A line for a person: `NOTICE`, `WARNING` or below. Errors are values.
pub fn say(level: PgLogLevel, text: &str) {
    let message = encoding::c_string_to_show(text);
    let mut data = ErrorData { elevel: level as c_int, message: message.as_ptr().cast_mut(), ..ErrorData::default() };
    // SAFETY: copies what it needs of the text; below ERROR it returns.
    unsafe { pg_sys::ThrowErrorData(&mut data) }
}

/// A line for a person in the letters of the database already, where nothing can be looked up to convert it; without a hint
/// where that is empty.
pub fn say_as_it_is(level: PgLogLevel, text: &CStr, hint: &CStr) {
    let mut data = ErrorData {
        elevel: level as c_int,
        message: text.as_ptr().cast_mut(),
        hint: if hint.is_empty() { std::ptr::null_mut() } else { hint.as_ptr().cast_mut() },
        ..ErrorData::default()
    };
    // SAFETY: as for `say`.
    unsafe { pg_sys::ThrowErrorData(&mut data) }
}

thread_local! {
    /// The error that was last seen on its way, if it has letters outside ASCII.
    static PASSING: RefCell<Option<Passing>> = const { RefCell::new(None) };
}

/// An error as pgrx has it and as the server has it.
struct Passing {
    rust: Texts,
    server: Texts,
}

#[derive(PartialEq, Eq)]
struct Texts {
    message: CString,
    detail: Option<CString>,
    hint: Option<CString>,
}

impl Texts {
    fn of_report(report: &ErrorReport) -> Self {
        let text = |text: &str| CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default();
        Texts { message: text(report.message()), detail: report.detail().map(text), hint: report.hint().map(text) }
    }

    /// # Safety
    /// The texts of `data` are null or NUL-terminated.
    unsafe fn of_server(data: &ErrorData) -> Self {
        // SAFETY: as the caller promises.
        let text = |text: *mut c_char| (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_owned());
        Texts { message: text(data.message).unwrap_or_default(), detail: text(data.detail), hint: text(data.hint) }
    }

    fn map(&self, text: impl Fn(&CString) -> CString) -> Self {
        Texts {
            message: text(&self.message),
            detail: self.detail.as_ref().map(&text),
            hint: self.hint.as_ref().map(&text),
        }
    }

    fn are_ascii(&self) -> bool {
        let is_ascii = |text: &CString| text.to_bytes().is_ascii();
        is_ascii(&self.message) && [&self.detail, &self.hint].into_iter().flatten().all(is_ascii)
    }

    /// As pgrx reads them.
    fn lossy(&self) -> Self {
        self.map(|text| CString::new(text.to_string_lossy().as_bytes()).unwrap_or_default())
    }
}

/// The callback on the error stack. It lives in memory of the server, so that it is still there when this frame is not.
struct Listening(*mut ErrorContextCallback);

impl Listening {
    fn start() -> Self {
        // SAFETY: the memory context of the call outlives it and its errors; the stack is this backend's own.
        unsafe {
            let callback = pg_sys::palloc(size_of::<ErrorContextCallback>()).cast::<ErrorContextCallback>();
            callback.write(ErrorContextCallback {
                previous: pg_sys::error_context_stack,
                callback: Some(on_message),
                arg: pg_sys::CurrentMemoryContext.cast(),
            });
            pg_sys::error_context_stack = callback;
            Listening(callback)
        }
    }

    fn stop(self) {
        // SAFETY: everything put on the stack meanwhile was taken off again.
        unsafe {
            pg_sys::error_context_stack = (*self.0).previous;
            pg_sys::pfree(self.0.cast());
        }
    }
}

// As the server has them: an error in a callback must go on to where the message came from, and not become a panic.
unsafe extern "C-unwind" {
    #[link_name = "CopyErrorData"]
    fn copy_error_data() -> *mut ErrorData;
    #[link_name = "FreeErrorData"]
    fn free_error_data(data: *mut ErrorData);
    #[link_name = "errmsg_internal"]
    fn set_message(format: *const c_char, ...) -> c_int;
    #[link_name = "errdetail_internal"]
    fn set_detail(format: *const c_char, ...) -> c_int;
    #[link_name = "errhint"]
    fn set_hint(format: *const c_char, ...) -> c_int;
}

/// Called while a message is made. No value with a destructor lives across a call of the server.
unsafe extern "C-unwind" fn on_message(context: *mut c_void) {
    // SAFETY: the server calls this between the start and the end of one message; the context is that of `start`.
    unsafe {
        let before = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = context.cast();
        let data = copy_error_data();
        pg_sys::CurrentMemoryContext = before;
        if (*data).elevel >= PgLogLevel::ERROR as c_int {
            let [message, detail, hint] = known(&*data);
            for (text, set) in [(message, set_message as Setter), (detail, set_detail), (hint, set_hint)] {
                if !text.is_null() {
                    set(c"%s".as_ptr(), text);
                }
            }
        }
        free_error_data(data);
    }
}

type Setter = unsafe extern "C-unwind" fn(*const c_char, ...) -> c_int;

/// Notes an error of the server. One that pgrx raises again is known: its message, detail and hint as they were.
///
/// # Safety
/// As for `Texts::of_server`. The result is good until the next error.
unsafe fn known(data: &ErrorData) -> [*const c_char; 3] {
    // SAFETY: as the caller promises.
    let texts = unsafe { Texts::of_server(data) };
    PASSING.with_borrow_mut(|passing| {
        if let Some(Passing { server, .. }) = passing.as_ref().filter(|passing| passing.rust == texts) {
            let text = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
            return [server.message.as_ptr(), text(&server.detail), text(&server.hint)];
        }
        let rust = texts.lossy();
        *passing = (!texts.are_ascii()).then_some(Passing { rust, server: texts });
        [std::ptr::null(); 3]
    })
}
