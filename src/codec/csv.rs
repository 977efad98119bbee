//! A row as `COPY … (FORMAT csv, HEADER)` writes it.

use super::error::{Fault, Outcome};
use super::jsonb;
use super::text::{Place, csv_field};
use super::value::{self, Scratch};
use super::wire::{Column, Fields, ValueKind};

/// The columns of a table, and how its CSV looks.
#[derive(Debug)]
pub(super) struct Csv {
    columns: Vec<(ValueKind, Shown)>,
    header: Vec<u8>,
    place: Place,
}

/// Whether a column stands in the file, and if so whether a comma precedes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Never,
    First,
    Later,
}

impl Csv {
    pub(super) fn new(columns: &[Column]) -> Self {
        let shown = columns.iter().filter(|column| !column.generated).count();
        let place = if shown == 1 { Place::Alone } else { Place::Among };
        let mut header = vec![];
        let mut plan = vec![];
        let mut next = Shown::First;
        for column in columns {
            if column.generated {
                plan.push((column.kind.clone(), Shown::Never));
                continue;
            }
            if next == Shown::Later {
                header.push(b',');
            }
            csv_field(column.name.as_bytes(), place, &mut header);
            plan.push((column.kind.clone(), next));
            next = Shown::Later;
        }
        header.push(b'\n');
        Csv { columns: plan, header, place }
    }

    /// The header line.
    pub(super) fn header(&self) -> &[u8] {
        &self.header
    }

    /// Appends the next row without its line end; on a fault, `at` is its column.
    #[inline]
    pub(super) fn row(&self, fields: &mut Fields, scratch: &mut Scratch, out: &mut Vec<u8>, at: &mut usize) -> Outcome {
        self.row_of(|| fields.take(), scratch, out, at)
    }

    /// As `row`, of the values that `next` gives one after another.
    #[inline]
    pub(super) fn row_of<'a>(
        &self,
        mut next: impl FnMut() -> Result<Option<&'a [u8]>, Fault>,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
        at: &mut usize,
    ) -> Outcome {
        for (index, (kind, shown)) in self.columns.iter().enumerate() {
            *at = index;
            let field = next()?;
            match shown {
                Shown::Never => continue,
                Shown::First => {}
                Shown::Later => out.push(b','),
            }
            if let Some(bytes) = field {
                self.value(kind, bytes, scratch, out)?;
            }
        }
        Ok(())
    }

    /// Appends the text of a value of a column, as it is before CSV quotes it.
    pub(super) fn plain(&self, column: usize, bytes: &[u8], scratch: &mut Scratch, out: &mut Vec<u8>) -> Outcome {
        let (kind, _) = self.columns.get(column).ok_or(Fault::Malformed("there is no such column"))?;
        value::text(kind, bytes, scratch, out)
    }

    /// How many values a row has.
    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    #[inline]
    fn value(&self, kind: &ValueKind, bytes: &[u8], scratch: &mut Scratch, out: &mut Vec<u8>) -> Outcome {
        match kind {
            ValueKind::Text | ValueKind::NumberText | ValueKind::Json => csv_field(bytes, self.place, out),
            ValueKind::TextAndJson => csv_field(value::server_text(bytes)?, self.place, out),
            ValueKind::Enum(labels) => csv_field(value::label(labels, bytes)?, self.place, out),
            ValueKind::Jsonb => return jsonb_field(bytes, scratch, out),
            ValueKind::Array(_) => {
                let mut unquoted = std::mem::take(&mut scratch.value);
                unquoted.clear();
                let outcome = value::text(kind, bytes, scratch, &mut unquoted);
                csv_field(&unquoted, self.place, out);
                scratch.value = unquoted;
                return outcome;
            }
            // Digits, letters and `\x`: nothing that CSV would quote.
            _ => return value::text(kind, bytes, scratch, out),
        }
        Ok(())
    }
}

/// A jsonb nearly always wants quotes, so it is written quoted at once, and the rare one that does not is put right.
#[inline]
fn jsonb_field(bytes: &[u8], scratch: &mut Scratch, out: &mut Vec<u8>) -> Result<(), Fault> {
    let start = out.len();
    out.push(b'"');
    match jsonb::write::<true>(bytes, &mut scratch.levels, out)? {
        jsonb::Marks::Special => out.push(b'"'),
        jsonb::Marks::Plain => {
            out.remove(start);
        }
    }
    Ok(())
}
