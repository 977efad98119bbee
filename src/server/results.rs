//! A function whose rows go to a tuplestore: it keeps to work_mem however many they are. pgrx knows no such function,
//! nor one that returns SETOF of its argument's type, so these are written for the server's call interface by hand;
//! their CREATE FUNCTION stands in sql/.

use pgrx::{PgMemoryContexts, is_a, pg_sys};

use crate::error::{Error, Result};

/// Makes `$name` callable by SQL: `$body` gets the call's information and gives the function's rows to `Results`.
#[macro_export]
macro_rules! set_returning {
    ($name:ident, $info:ident, $body:path) => {
        /// Tells the server how the function of this name is called.
        #[unsafe(no_mangle)]
        pub extern "C-unwind" fn $info() -> &'static pgrx::pg_sys::Pg_finfo_record {
            const VERSION_1: pgrx::pg_sys::Pg_finfo_record = pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &VERSION_1
        }

        #[unsafe(no_mangle)]
        #[pgrx::pg_guard]
        pub unsafe extern "C-unwind" fn $name(call: pgrx::pg_sys::FunctionCallInfo) -> pgrx::pg_sys::Datum {
            let body: unsafe fn(pgrx::pg_sys::FunctionCallInfo) -> $crate::error::Result<()> = $body;
            // SAFETY: the server calls it with the information of this call.
            if let Err(report) = $crate::server::message::answer(|| unsafe { body(call) }) {
                report.report(pgrx::PgLogLevel::ERROR);
            }
            // SAFETY: as above; a function that returns a set returns null besides.
            unsafe { (*call).isnull = true };
            pgrx::pg_sys::Datum::from(0)
        }
    };
}

/// The rows of a call.
pub struct Results {
    store: *mut pg_sys::Tuplestorestate,
    description: pg_sys::TupleDesc,
}

impl Results {
    /// Makes the store that the server reads when the call has ended, for rows as `description` says.
    ///
    /// # Safety
    /// `call` is the information of the current call, and `description` stays for this function.
    pub unsafe fn start(call: pg_sys::FunctionCallInfo, description: pg_sys::TupleDesc) -> Result<Self> {
        // SAFETY: as the caller promises; what the server looks at after the call is made in the query's context.
        unsafe {
            let info = (*call).resultinfo;
            let materialize = pg_sys::SetFunctionReturnMode::SFRM_Materialize;
            if info.is_null() || !is_a(info, pg_sys::NodeTag::T_ReturnSetInfo) {
                return Err(no_set());
            }
            let info = info.cast::<pg_sys::ReturnSetInfo>();
            let allowed = (*info).allowedModes.cast_unsigned();
            if allowed & materialize == 0 {
                return Err(no_set());
            }
            let random = allowed & pg_sys::SetFunctionReturnMode::SFRM_Materialize_Random != 0;
            PgMemoryContexts::For((*(*info).econtext).ecxt_per_query_memory).switch_to(|_| {
                (*info).returnMode = materialize;
                (*info).setDesc = pg_sys::CreateTupleDescCopy(description);
                (*info).setResult = pg_sys::tuplestore_begin_heap(random, false, pg_sys::work_mem);
            });
            Ok(Results { store: (*info).setResult, description: (*info).setDesc })
        }
    }

    /// As `start`, for rows of the columns that the function was declared with.
    ///
    /// # Safety
    /// As of `start`.
    pub unsafe fn of_declared(call: pg_sys::FunctionCallInfo) -> Result<Self> {
        let mut description = std::ptr::null_mut();
        // SAFETY: as the caller promises; fills the variable.
        let class = unsafe { pg_sys::get_call_result_type(call, std::ptr::null_mut(), &mut description) };
        if class != pg_sys::TypeFuncClass::TYPEFUNC_COMPOSITE {
            return Err(no_set());
        }
        // SAFETY: as above.
        unsafe { Self::start(call, description) }
    }

    /// Adds a row.
    ///
    /// # Safety
    /// Both have an item for each column, and each datum that is not null is a value of its column's type.
    pub unsafe fn put(&mut self, values: &mut [pg_sys::Datum], nulls: &mut [bool]) {
        // SAFETY: as the caller promises; the values are copied.
        unsafe { pg_sys::tuplestore_putvalues(self.store, self.description, values.as_mut_ptr(), nulls.as_mut_ptr()) }
    }
}

fn no_set() -> Error {
    Error::Internal { object: "call", reason: "a set of rows cannot be returned here".into() }
}
