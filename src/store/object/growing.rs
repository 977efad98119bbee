//! An object that is written piece by piece, of a size that nobody knows before its end.

use super::{Content, ObjectError, Watch};

/// An object in the making. Until it is finished there is none; dropped before, it leaves nothing but what a sweep takes.
pub trait Growing: Send {
    /// Puts bytes at the end. They may be held back, and be sent with later ones.
    fn append(&mut self, bytes: &[u8], watch: Watch<'_>) -> Result<(), ObjectError>;

    /// Waits for what is on its way, so that nobody is kept waiting on the line while the caller is busy elsewhere.
    fn settle(&mut self, watch: Watch<'_>) -> Result<(), ObjectError>;

    /// Makes it an object under its key; what it is. After an error there is none.
    fn finish(self: Box<Self>, watch: Watch<'_>) -> Result<Content, ObjectError>;
}
