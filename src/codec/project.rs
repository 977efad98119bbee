//! What is made of a row's fields: a shorter row of some of them, or a JSON object for people.

use super::fields::CsvFields;
use super::text::{Place, csv_field, json_string};

/// Some fields of a row, in an order of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Projection(Vec<usize>);

impl Projection {
    /// The fields at these places, from 0.
    pub fn new(places: Vec<usize>) -> Self {
        Projection(places)
    }

    /// Whether it leaves rows of `width` fields as they are.
    pub fn is_identity(&self, width: usize) -> bool {
        self.0.len() == width && self.0.iter().enumerate().all(|(index, place)| index == *place)
    }

    /// Whether it takes no field.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends the row that these fields make, byte for byte what the encoder writes for a table of these columns
    /// alone.
    pub fn row(&self, fields: &CsvFields, out: &mut Vec<u8>) {
        let place = if self.0.len() == 1 { Place::Alone } else { Place::Among };
        for (index, at) in self.0.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            if let Some(field) = fields.get(*at) {
                csv_field(field, place, out);
            }
        }
    }
}

/// How a column's text reads in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// A string.
    Text,
    /// Bare where it is a number to JSON, else a string (`NaN`).
    Number,
    /// `t` and `f` as true and false.
    Bool,
    /// As it is.
    Json,
}

impl Shown {
    /// Of a type as `format_type` names it. `json` is a string, since it may hold what `jsonb` refuses.
    pub fn of_type(name: &str) -> Self {
        match name {
            "smallint" | "integer" | "bigint" | "real" | "double precision" | "numeric" => Shown::Number,
            "boolean" => Shown::Bool,
            "jsonb" => Shown::Json,
            _ if name.starts_with("numeric(") => Shown::Number,
            _ => Shown::Text,
        }
    }

    pub(super) fn write(self, field: &[u8], out: &mut Vec<u8>) {
        match (self, field) {
            (Shown::Bool, b"t") => out.extend_from_slice(b"true"),
            (Shown::Bool, b"f") => out.extend_from_slice(b"false"),
            (Shown::Number, number) if is_json_number(number) => out.extend_from_slice(number),
            (Shown::Json, json) => out.extend_from_slice(json),
            (_, text) => json_string::<false>(text, out),
        }
    }
}

/// Appends a JSON object of columns: each a name, how its text reads, and the text, none for NULL.
pub fn json_object<'a>(columns: impl IntoIterator<Item = (&'a str, Shown, Option<&'a [u8]>)>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, shown, field)) in columns.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json_string::<false>(name.as_bytes(), out);
        out.push(b':');
        match field {
            None => out.extend_from_slice(b"null"),
            Some(field) => shown.write(field, out),
        }
    }
    out.push(b'}');
}

fn is_json_number(text: &[u8]) -> bool {
    let digits_first = matches!(text.strip_prefix(b"-").unwrap_or(text).first(), Some(b'0'..=b'9'));
    digits_first && serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(row: &str) -> CsvFields {
        let mut fields = CsvFields::default();
        fields.read(row.as_bytes()).unwrap();
        fields
    }

    fn projected(places: &[usize], row: &str) -> String {
        let mut out = vec![];
        Projection::new(places.to_vec()).row(&of(row), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_change_places_and_keep_their_quotes() {
        assert_eq!(projected(&[2, 0], "a,b,\"c,\"\"\""), "\"c,\"\"\",a");
        assert_eq!(projected(&[1, 0], "\"\","), ",\"\"");
        assert_eq!(projected(&[], "a,b"), "");
    }

    #[test]
    fn a_lone_column_is_quoted_as_the_encoder_does() {
        assert_eq!(projected(&[1], "a,\\."), "\"\\.\"");
        assert_eq!(projected(&[1, 0], "a,\\."), "\\.,a");
    }

    #[test]
    fn only_all_fields_in_order_are_the_row_itself() {
        assert!(Projection::new(vec![0, 1]).is_identity(2));
        assert!(!Projection::new(vec![0, 1]).is_identity(3));
        assert!(!Projection::new(vec![1, 0]).is_identity(2));
    }

    #[test]
    fn values_read_in_json_as_their_type_asks() {
        let names =
            [("n", "numeric(3,1)"), ("f", "real"), ("b", "boolean"), ("j", "jsonb"), ("t\"", "text"), ("x", "date")];
        let mut out = vec![];
        let fields = of("-1.50,NaN,t,\"{\"\"a\"\": 1}\",\"a\nb\",");
        let columns = names.iter().enumerate().map(|(at, (name, of))| (*name, Shown::of_type(of), fields.get(at)));
        json_object(columns, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, r#"{"n":-1.50,"f":"NaN","b":true,"j":{"a": 1},"t\"":"a\nb","x":null}"#);
    }

    #[test]
    fn what_is_no_number_is_a_string() {
        for text in ["", "-", "01", "1e", "Infinity", "1 2", " 1", "[1]", "null", "0x1"] {
            assert!(!is_json_number(text.as_bytes()), "{text}");
        }
        for text in ["0", "-0", "1.5", "1e+30", "12345678901234567890123.5"] {
            assert!(is_json_number(text.as_bytes()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn all_fields_in_order_make_the_row_again(values in prop::collection::vec(prop::option::of("[a,\"\n\\\\.]{0,6}"), 1..5)) {
            let place = if values.len() == 1 { Place::Alone } else { Place::Among };
            let mut row = vec![];
            for (index, value) in values.iter().enumerate() {
                if index > 0 { row.push(b','); }
                if let Some(value) = value { csv_field(value.as_bytes(), place, &mut row); }
            }
            let mut fields = CsvFields::default();
            fields.read(&row).unwrap();
            let mut again = vec![];
            Projection::new((0..values.len()).collect()).row(&fields, &mut again);
            prop_assert_eq!(again, row);
        }
    }
}
