//! The encoding of the database. Inside everything is UTF-8; a text is converted here when it comes from the server, and
//! when it goes there. Where the database is in UTF-8 nothing is converted, nor copied for it.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_char};

use pgrx::pg_sys;

use crate::error::{Error, Result};

/// What the encoding of the database means for texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// The bytes are UTF-8 already.
    Utf8,
    /// Each text is converted to UTF-8.
    Converted,
    /// SQL_ASCII: nobody knows the encoding, bytes are kept as they are.
    Unknown,
}

impl Encoding {
    /// That of the current database.
    pub fn of_database() -> Self {
        match database() as u32 {
            pg_sys::pg_enc::PG_UTF8 => Encoding::Utf8,
            pg_sys::pg_enc::PG_SQL_ASCII => Encoding::Unknown,
            _ => Encoding::Converted,
        }
    }

    /// The name that a manifest gives it.
    pub fn of_files(self) -> &'static str {
        if self == Encoding::Unknown { "SQL_ASCII" } else { "UTF8" }
    }
}

/// A text of the server. What is not UTF-8, and cannot be made so, is an error that shows it.
pub fn from_server(bytes: Vec<u8>) -> Result<String> {
    let utf8 = match Encoding::of_database() {
        Encoding::Converted if !bytes.is_ascii() => {
            convert(&bytes, database(), UTF8).map_err(|_| Error::not_utf8(escaped(&bytes)))?
        }
        _ => bytes,
    };
    String::from_utf8(utf8).map_err(|error| Error::not_utf8(escaped(error.as_bytes())))
}

/// A text for the server. Letters that the database's encoding has not are an error that shows them.
pub fn to_server(text: &str) -> Result<Cow<'_, [u8]>> {
    if Encoding::of_database() != Encoding::Converted || text.is_ascii() {
        return Ok(Cow::Borrowed(text.as_bytes()));
    }
    match convert(text.as_bytes(), UTF8, database()) {
        Ok(bytes) => Ok(Cow::Owned(bytes)),
        Err(_) => Err(Error::NotInDatabase { text: text.to_owned() }),
    }
}

/// As `to_server`, for a call of the server.
pub fn c_string(text: &str) -> Result<CString> {
    CString::new(to_server(text)?)
        .map_err(|_| Error::InvalidOption { option: "text", reason: "it contains a zero byte".into() })
}

/// A text of the server for a person's eyes: what cannot be shown stands as `\xE9`.
pub fn shown(bytes: &[u8]) -> String {
    from_server(bytes.to_vec()).unwrap_or_else(|_| escaped(bytes))
}

/// A text for a person's eyes, on its way to the server: a letter that the database's encoding has not stands as
/// `\u{65E5}`.
pub fn to_show(text: &str) -> Cow<'_, [u8]> {
    to_server(text).unwrap_or_else(|_| Cow::Owned(text.chars().flat_map(letter).collect()))
}

/// As `to_show`, as a C string; nothing stands after a zero byte.
pub fn c_string_to_show(text: &str) -> CString {
    let text = text.split('\0').next().unwrap_or_default();
    CString::new(to_show(text)).unwrap_or_default()
}

/// A name that the server gave as a C string; none for null.
///
/// # Safety
/// `pointer` is null or a NUL-terminated string that stays for the call.
pub unsafe fn owned(pointer: *const c_char) -> Option<Result<String>> {
    // SAFETY: as the caller promises.
    (!pointer.is_null()).then(|| from_server(unsafe { CStr::from_ptr(pointer) }.to_bytes().to_vec()))
}

const UTF8: i32 = pg_sys::pg_enc::PG_UTF8 as i32;

fn database() -> i32 {
    // SAFETY: reads this backend's state.
    unsafe { pg_sys::GetDatabaseEncoding() }
}

fn letter(letter: char) -> Vec<u8> {
    match to_server(letter.encode_utf8(&mut [0; 4])) {
        Ok(bytes) => bytes.into_owned(),
        Err(_) => format!("\\u{{{:X}}}", u32::from(letter)).into_bytes(),
    }
}

/// The beginning of a text in ASCII, so that it reads the same in any encoding.
fn escaped(bytes: &[u8]) -> String {
    const SHOWN: usize = 200;
    if bytes.len() > SHOWN {
        return escaped(&bytes[..SHOWN]) + "...";
    }
    let escape = |byte: &u8| if byte.is_ascii() { char::from(*byte).to_string() } else { format!("\\x{byte:02X}") };
    bytes.iter().map(escape).collect()
}

/// There is no conversion between the two encodings, or not of this text.
struct Unconvertible;

fn convert(bytes: &[u8], from: i32, to: i32) -> std::result::Result<Vec<u8>, Unconvertible> {
    let room = (bytes.len() + 1) * pg_sys::MAX_CONVERSION_GROWTH as usize + 1;
    let (Ok(length), Ok(size)) = (i32::try_from(bytes.len()), i32::try_from(room)) else { return Err(Unconvertible) };
    // SAFETY: looks up the catalogue.
    let function = unsafe { pg_sys::FindDefaultConversionProc(from, to) };
    if function == pg_sys::InvalidOid {
        return Err(Unconvertible);
    }
    let (mut source, mut converted) = (bytes.to_vec(), vec![0u8; room]);
    // SAFETY: both buffers are as long as is said; a text that cannot be converted ends the work early, without an error.
    let done = unsafe {
        let (source, target) = (source.as_mut_ptr(), converted.as_mut_ptr());
        pg_sys::pg_do_encoding_conversion_buf(function, from, to, source, length, target, size, true)
    };
    if done != length {
        return Err(Unconvertible);
    }
    let end = converted.iter().position(|byte| *byte == 0).unwrap_or(room);
    converted.truncate(end);
    Ok(converted)
}
