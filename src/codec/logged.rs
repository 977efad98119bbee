//! From the rows before and after a change to what the log keeps of them. Where the bytes of a value are the same on both
//! sides, its text is made once.

use std::ops::Range;

use super::change::{Changed, key_of};
use super::csv::Csv;
use super::encoder::ROW_LIMIT;
use super::error::{EncodeError, Fault};
use super::text::{Place, csv_field};
use super::value::Scratch;
use super::wire::{Column, Fields, RowBatch};

/// Makes entries of the log from the rows of one table.
#[derive(Debug)]
pub struct Logger {
    csv: Csv,
    names: Vec<String>,
}

/// What the log keeps of one changed row.
#[derive(Debug, PartialEq, Eq)]
pub struct Logged {
    /// The text of its key, as `change::key`; none without one.
    pub key: Option<Vec<u8>>,
    /// Where the row's line of CSV stands.
    pub image: Range<usize>,
    pub before: Before,
}

/// What a changed row was before.
#[derive(Debug, PartialEq, Eq)]
pub enum Before {
    /// It was not there, or it is gone: there is one side only.
    Nothing,
    /// The fields that differ.
    Fields(Changed),
    /// Another key: the line of it stands there.
    Row { key: Option<Vec<u8>>, image: Range<usize> },
}

/// The values of one row, as they lie in a batch.
type Values<'a> = Vec<Option<&'a [u8]>>;

impl Logger {
    /// Of a table without generated columns.
    pub fn new(columns: &[Column]) -> Self {
        Logger { csv: Csv::new(columns), names: columns.iter().map(|column| column.name.clone()).collect() }
    }

    /// Appends the lines of all rows of `after` to `out`; of an update `before` has as many, in their order. `key` are the
    /// places of its columns.
    ///
    /// # Errors
    /// A row longer than 1 GiB, or bytes that are no value of their kind; then `out` is of no use.
    pub fn rows(
        &self,
        after: &RowBatch,
        before: Option<&RowBatch>,
        key: &[usize],
        out: &mut Vec<u8>,
    ) -> Result<Vec<Logged>, EncodeError> {
        let mut sides = (Fields::new(after), before.map(Fields::new));
        let (mut new, mut old) = (Vec::with_capacity(self.names.len()), Vec::with_capacity(self.names.len()));
        let mut scratch = Scratch::default();
        let mut logged = Vec::with_capacity(after.rows as usize);
        for index in 0..after.rows {
            let mut at = 0;
            let mut one = || {
                self.take(&mut sides.0, &mut new)?;
                let image = self.line(&new, &mut scratch, out, &mut at)?;
                let own = self.key(&new, key, &mut scratch)?;
                let Some(side) = &mut sides.1 else { return Ok(Logged { key: own, image, before: Before::Nothing }) };
                self.take(side, &mut old)?;
                let is_same = key.iter().all(|place| new.get(*place) == old.get(*place));
                let other = if is_same { own.clone() } else { self.key(&old, key, &mut scratch)? };
                let before = if other == own {
                    Before::Fields(self.changed(&old, &new, &mut scratch)?)
                } else {
                    Before::Row { key: other, image: self.line(&old, &mut scratch, out, &mut at)? }
                };
                Ok(Logged { key: own, image, before })
            };
            logged.push(one().map_err(|fault| self.error(fault, after.first_row + u64::from(index), at))?);
        }
        let is_read = sides.0.is_empty() && sides.1.is_none_or(|side| side.is_empty());
        if !is_read {
            return Err(EncodeError::BrokenBatch { sequence: after.sequence, reason: "it holds more than its rows" });
        }
        Ok(logged)
    }

    fn take<'a>(&self, fields: &mut Fields<'a>, values: &mut Values<'a>) -> Result<(), Fault> {
        values.clear();
        for _ in 0..self.csv.width() {
            values.push(fields.take()?);
        }
        Ok(())
    }

    fn line(
        &self,
        values: &Values,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
        at: &mut usize,
    ) -> Result<Range<usize>, Fault> {
        let start = out.len();
        let mut values = values.iter();
        self.csv.row_of(|| Ok(values.next().copied().flatten()), scratch, out, at)?;
        let line = start..out.len();
        out.push(b'\n');
        if line.len() > ROW_LIMIT { Err(Fault::TooLong) } else { Ok(line) }
    }

    fn text(&self, place: usize, value: &[u8], scratch: &mut Scratch) -> Result<Vec<u8>, Fault> {
        let mut text = vec![];
        self.csv.plain(place, value, scratch, &mut text)?;
        Ok(text)
    }

    fn key(&self, values: &Values, places: &[usize], scratch: &mut Scratch) -> Result<Option<Vec<u8>>, Fault> {
        let mut texts = Vec::with_capacity(places.len());
        for place in places {
            let Some(value) = values.get(*place).copied().flatten() else { return Ok(None) };
            texts.push(self.text(*place, value, scratch)?);
        }
        let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
        Ok((!texts.is_empty()).then(|| key_of(&texts)))
    }

    /// The fields whose text differs. Other bytes can be the same text.
    fn changed(&self, old: &Values, new: &Values, scratch: &mut Scratch) -> Result<Changed, Fault> {
        let (mut columns, mut texts) = (vec![], vec![]);
        for (place, (old, new)) in old.iter().zip(new).enumerate() {
            if old == new {
                continue;
            }
            let mut text = |value: &Option<&[u8]>| value.map(|value| self.text(place, value, scratch)).transpose();
            let (was, is) = (text(old)?, text(new)?);
            if was != is {
                columns.push(place + 1);
                texts.push(was);
            }
        }
        let (place, mut before) = (if columns.len() == 1 { Place::Alone } else { Place::Among }, vec![]);
        for (index, text) in texts.iter().enumerate() {
            if index > 0 {
                before.push(b',');
            }
            if let Some(text) = text {
                csv_field(text, place, &mut before);
            }
        }
        Ok(Changed { columns, before })
    }

    #[cold]
    fn error(&self, fault: Fault, row: u64, at: usize) -> EncodeError {
        match fault {
            Fault::TooLong => EncodeError::RowTooLong { row },
            Fault::Malformed(reason) => {
                EncodeError::Malformed { row, column: self.names.get(at).cloned().unwrap_or_default(), reason }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::{changed, key};
    use super::super::wire::ValueKind;
    use super::super::{CsvFields, Encoder};
    use super::*;
    use proptest::prelude::*;

    fn columns(count: usize) -> Vec<Column> {
        let one = |place: usize| Column {
            name: format!("c{place}"),
            kind: if place == 1 { ValueKind::Int4 } else { ValueKind::Text },
            generated: false,
        };
        (0..count).map(one).collect()
    }

    /// Rows of a text, a number, and texts.
    fn batch(rows: &[Vec<Option<String>>]) -> RowBatch {
        let mut batch = RowBatch::default();
        for row in rows {
            for (place, value) in row.iter().enumerate() {
                match value {
                    None => batch.push_null(),
                    Some(value) if place == 1 => batch.push_value(&(value.len() as i32).to_ne_bytes()).unwrap(),
                    Some(value) => batch.push_value(value.as_bytes()).unwrap(),
                }
            }
            batch.end_row();
        }
        batch
    }

    fn read(line: &[u8]) -> CsvFields {
        let mut fields = CsvFields::default();
        fields.read(line).unwrap();
        fields
    }

    fn line(columns: &[Column], row: &[Option<String>]) -> Vec<u8> {
        let mut out = vec![];
        let rows = Encoder::csv(columns).encode_rows(&batch(&[row.to_vec()]), &mut out).unwrap();
        out[rows[0].clone()].to_vec()
    }

    #[test]
    fn more_bytes_than_rows_are_refused() {
        let mut after = batch(&[vec![Some("a".into())]]);
        after.bytes.push(0);
        assert!(Logger::new(&columns(1)).rows(&after, None, &[0], &mut vec![]).is_err());
        let (after, before) = (batch(&[vec![Some("a".into())]]), batch(&[]));
        assert!(Logger::new(&columns(1)).rows(&after, Some(&before), &[0], &mut vec![]).is_err());
    }

    type Row = Vec<Option<String>>;

    fn table() -> impl Strategy<Value = (Vec<(Row, Row)>, Vec<usize>)> {
        (1usize..5).prop_flat_map(|width| {
            let row = || prop::collection::vec(prop::option::of("[a,\"\n]{0,2}"), width);
            let key = prop::sample::subsequence((0..width).collect::<Vec<_>>(), 0..=width);
            (prop::collection::vec((row(), row()), 1..5), key)
        })
    }

    proptest! {
        #[test]
        fn it_says_what_a_comparison_of_both_lines_says((rows, places) in table()) {
            let columns = columns(rows[0].0.len());
            let (old, new): (Vec<Row>, Vec<Row>) = rows.into_iter().unzip();
            let mut out = vec![];
            let logged = Logger::new(&columns).rows(&batch(&new), Some(&batch(&old)), &places, &mut out).unwrap();
            prop_assert_eq!(logged.len(), new.len());
            for (logged, (old, new)) in logged.into_iter().zip(old.iter().zip(&new)) {
                let (old, new) = (line(&columns, old), line(&columns, new));
                let (before, after) = (read(&old), read(&new));
                prop_assert_eq!(&out[logged.image], &new[..]);
                prop_assert_eq!(&logged.key, &key(&after, &places));
                let old_key = key(&before, &places);
                match logged.before {
                    Before::Fields(fields) => {
                        prop_assert_eq!(&logged.key, &old_key);
                        prop_assert_eq!(fields, changed(&before, &after));
                    }
                    Before::Row { key, image } => {
                        prop_assert_ne!(&logged.key, &old_key);
                        prop_assert_eq!(&key, &old_key);
                        prop_assert_eq!(&out[image], &old[..]);
                    }
                    Before::Nothing => prop_assert!(false, "an update has two sides"),
                }
            }
        }
    }
}
