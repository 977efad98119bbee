//! What an error of the system is to a client.

use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;

/// The SQLSTATE of an errno; none is an argument that was refused before the system was asked.
pub fn store_code(errno: Option<i32>) -> Code {
    match errno {
        Some(28 | 122) => Code::ERRCODE_DISK_FULL,
        Some(1 | 13) => Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
        Some(2) => Code::ERRCODE_UNDEFINED_FILE,
        Some(23 | 24) => Code::ERRCODE_INSUFFICIENT_RESOURCES,
        Some(27) => Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        Some(_) => Code::ERRCODE_IO_ERROR,
        None => Code::ERRCODE_INVALID_PARAMETER_VALUE,
    }
}
