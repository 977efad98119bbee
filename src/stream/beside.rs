//! What is read and what is written, each on its own thread: one makes pieces, the calling one writes them.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::{StreamError, thread};

/// Bytes of a piece, and pieces that wait.
const PIECE: usize = 512 << 10;
const WAITING: usize = 4;

/// Runs `make` on a thread of its own; what it writes is written to `out` here, in the same order. Whatever `out` does, an
/// error or an unwind, the thread has ended when this returns. Errors: of `make`; `Write` of `out`.
pub(super) fn copy<T: Send>(
    out: &mut dyn Write,
    make: impl FnOnce(&mut dyn Write) -> Result<T, StreamError> + Send,
) -> Result<T, StreamError> {
    std::thread::scope(|scope| {
        let (full, pieces) = sync_channel(WAITING);
        let (empty, spare) = channel();
        let made = thread::scoped_without_signals(scope, move || {
            let mut out = Pieces { full, spare, piece: Vec::with_capacity(PIECE) };
            let made = make(&mut out)?;
            out.send().map_err(StreamError::Write)?;
            Ok(made)
        })?;
        let written = write_all(out, pieces, &empty);
        let made = made.join().unwrap_or_else(|payload| Err(StreamError::Panicked(thread::message(&*payload))));
        // Where the writing failed, the other end only saw that nobody took its pieces.
        written.map_err(StreamError::Write).and(made)
    })
}

/// Takes the pieces with it, so that whoever makes them finds nobody when this ends.
fn write_all(out: &mut dyn Write, pieces: Receiver<Vec<u8>>, empty: &Sender<Vec<u8>>) -> io::Result<()> {
    for piece in pieces {
        out.write_all(&piece)?;
        // Nobody wants it any more after the last.
        let _ = empty.send(piece);
    }
    Ok(())
}

struct Pieces {
    full: SyncSender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
    piece: Vec<u8>,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        let mut next = self.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(PIECE));
        next.clear();
        let piece = std::mem::replace(&mut self.piece, next);
        self.full.send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() + bytes.len() > PIECE && !self.piece.is_empty() {
            self.send()?;
        }
        let taken = &bytes[..bytes.len().min(PIECE)];
        self.piece.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// Takes so many bytes, and then does what a test wants.
    struct Until<F: FnMut() -> io::Result<usize>>(usize, F);

    impl<F: FnMut() -> io::Result<usize>> Write for Until<F> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.0.checked_sub(bytes.len()) {
                Some(left) => self.0 = left,
                None => return self.1(),
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn endless(out: &mut dyn Write) -> Result<(), StreamError> {
        loop {
            out.write_all(&[7; 1000]).map_err(StreamError::Write)?;
        }
    }

    #[test]
    fn what_is_made_is_written_in_order() {
        for sizes in [vec![], vec![1], vec![PIECE, 1, PIECE - 1, PIECE + 1, 30, 5 * PIECE]] {
            let expected: Vec<u8> = sizes.iter().enumerate().flat_map(|(at, &size)| vec![at as u8; size]).collect();
            let mut out = Vec::new();
            let made = copy(&mut out, |out| {
                for (at, size) in sizes.iter().enumerate() {
                    out.write_all(&vec![at as u8; *size]).map_err(StreamError::Write)?;
                }
                Ok(sizes.len())
            });
            assert_eq!(made.unwrap(), sizes.len());
            assert!(out == expected);
        }
    }

    #[test]
    fn an_error_of_either_side_is_that_of_the_call() {
        let full = || Err(io::Error::from_raw_os_error(28));
        let error = copy(&mut Until(3 * PIECE, full), endless).unwrap_err();
        assert!(matches!(error, StreamError::Write(source) if source.raw_os_error() == Some(28)));
        let error = copy(&mut Vec::new(), |out| {
            out.write_all(b"x").map_err(StreamError::Write)?;
            Err::<(), _>(StreamError::SpillChanged { sequence: 3 })
        });
        assert!(matches!(error, Err(StreamError::SpillChanged { sequence: 3 })));
        let error = copy(&mut Vec::new(), |_| -> Result<(), StreamError> { panic!("on purpose") });
        assert!(matches!(error, Err(StreamError::Panicked(said)) if said.contains("on purpose")));
    }

    #[test]
    fn an_unwind_of_the_writer_ends_the_other_thread_too() {
        let caught = catch_unwind(AssertUnwindSafe(|| copy(&mut Until(PIECE, || panic!("a cancel")), endless)));
        assert!(caught.is_err());
    }
}
