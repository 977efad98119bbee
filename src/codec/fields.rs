//! The fields of a CSV row found again: the inverse of `Csv::row`. An unquoted empty field is NULL, a quoted one is not.

use memchr::memchr;

/// Why a line is not a row as the encoder writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a row of CSV: {0}")]
pub struct NotCsv(pub(super) &'static str);

/// The fields of one row, or of several. Kept between rows, so that reading allocates nothing.
#[derive(Debug, Default, Clone)]
pub struct CsvFields {
    /// The texts without quotes, each followed by a zero byte, so that C can take them.
    text: Vec<u8>,
    /// Where each field lies in `text`; none for NULL.
    fields: Vec<Option<(u32, u32)>>,
}

impl CsvFields {
    /// Replaces what it holds by the fields of a row, given without its line end. Errors: a quote that is not closed, or
    /// text behind a closing quote.
    pub fn read(&mut self, row: &[u8]) -> Result<(), NotCsv> {
        self.clear();
        self.append(row)
    }

    /// Adds the fields of a further row behind those it holds; a chunk's fields then lie in one piece of memory.
    /// Errors: as `read`.
    pub fn append(&mut self, row: &[u8]) -> Result<(), NotCsv> {
        let mut at = 0;
        loop {
            let start = self.text.len();
            let quoted = row.get(at) == Some(&b'"');
            at = if quoted { self.quoted(row, at + 1)? } else { self.bare(row, at) };
            let end = self.text.len();
            self.fields.push((quoted || end > start).then_some((start as u32, end as u32)));
            self.text.push(0);
            match row.get(at) {
                None => return Ok(()),
                Some(b',') => at += 1,
                Some(_) => return Err(NotCsv("text follows a closing quote")),
            }
        }
    }

    /// Forgets what it holds.
    pub fn clear(&mut self) {
        self.text.clear();
        self.fields.clear();
    }

    /// Makes fields NULL.
    pub fn blank(&mut self, places: &[usize]) {
        for place in places {
            if let Some(field) = self.fields.get_mut(*place) {
                *field = None;
            }
        }
    }

    /// How many fields the row has; a row of no columns counts as one NULL.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is none, as before the first row.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Field number `index` from 0; none for NULL and beyond the last.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let (start, end) = (*self.fields.get(index)?)?;
        Some(&self.text[start as usize..end as usize])
    }

    /// As `get`, with the zero byte behind it.
    pub fn get_with_nul(&self, index: usize) -> Option<&[u8]> {
        let (start, end) = (*self.fields.get(index)?)?;
        Some(&self.text[start as usize..=end as usize])
    }

    fn bare(&mut self, row: &[u8], at: usize) -> usize {
        let end = memchr(b',', &row[at..]).map_or(row.len(), |found| at + found);
        self.text.extend_from_slice(&row[at..end]);
        end
    }

    /// Position after the closing quote.
    fn quoted(&mut self, row: &[u8], mut at: usize) -> Result<usize, NotCsv> {
        loop {
            let Some(found) = memchr(b'"', &row[at..]) else {
                return Err(NotCsv("a quote is not closed"));
            };
            self.text.extend_from_slice(&row[at..at + found]);
            at += found + 1;
            if row.get(at) != Some(&b'"') {
                return Ok(at);
            }
            self.text.push(b'"');
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(row: &str) -> Vec<Option<String>> {
        let mut fields = CsvFields::default();
        fields.read(row.as_bytes()).unwrap();
        (0..fields.len()).map(|i| fields.get(i).map(|f| String::from_utf8(f.to_vec()).unwrap())).collect()
    }

    #[test]
    fn null_and_the_empty_text_differ() {
        assert_eq!(fields("a,,\"\""), [Some("a".into()), None, Some(String::new())]);
        assert_eq!(fields(""), [None]);
        assert_eq!(fields(","), [None, None]);
    }

    #[test]
    fn quotes_hide_commas_line_ends_and_quotes() {
        assert_eq!(fields("\"a,\n\"\"b\",c"), [Some("a,\n\"b".into()), Some("c".into())]);
    }

    #[test]
    fn a_broken_quote_is_an_error() {
        assert!(CsvFields::default().read(b"\"a").is_err());
        assert!(CsvFields::default().read(b"\"a\"b").is_err());
    }

    proptest! {
        #[test]
        fn what_was_written_comes_back(values in prop::collection::vec(prop::option::of("[a,\"\n\\\\.]{0,6}"), 1..5)) {
            let place = if values.len() == 1 { super::super::text::Place::Alone } else { super::super::text::Place::Among };
            let mut row = vec![];
            for (index, value) in values.iter().enumerate() {
                if index > 0 { row.push(b','); }
                if let Some(value) = value { super::super::text::csv_field(value.as_bytes(), place, &mut row); }
            }
            prop_assert_eq!(fields(std::str::from_utf8(&row).unwrap()), values);
        }

        #[test]
        fn no_bytes_break_it(row in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = CsvFields::default().read(&row);
        }
    }
}
