//! What names a person in a table: a column, or a path into the JSON of one, as `data->>'customer_email'` writes it. Its
//! value in a row is the text that SQL gives for it, read from the row's CSV or JSON without a server.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::CsvFields;

/// A column, and the steps from its JSON to the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    pub column: String,
    pub steps: Vec<Step>,
}

/// One `->` or, at the end, `->>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    Key(String),
    /// From 0; from -1 backwards.
    Index(i64),
}

/// Why a text is neither a column nor a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotASubject(&'static str);

impl Subject {
    /// Reads `email`, `"E-mail"`, `data->>'email'` or `data->'customer'->>'email'`. A column name stands as the catalogue
    /// has it. Errors: anything else.
    pub fn parse(text: &str) -> Result<Self, NotASubject> {
        let text = text.trim();
        let (column, mut rest) = column(text)?;
        let mut steps = Vec::new();
        let mut is_text = true;
        while !rest.is_empty() {
            if !std::mem::replace(&mut is_text, false) && steps.is_empty() {
                return Err(NotASubject("it is not a column"));
            }
            let behind = rest.strip_prefix("->").ok_or(NotASubject("-> or ->> is expected after the column"))?;
            let behind = behind.strip_prefix('>').inspect(|_| is_text = true).unwrap_or(behind);
            let (step, left) = step(behind.trim_start())?;
            steps.push(step);
            rest = left.trim_start();
            if is_text && !rest.is_empty() {
                return Err(NotASubject("nothing can follow ->>, which gives a text"));
            }
        }
        if is_text {
            Ok(Subject { column, steps })
        } else {
            Err(NotASubject("the last step must be ->>, to give a text"))
        }
    }

    /// Its value in a row of CSV of which it is the field number `place`; none for NULL.
    pub fn in_csv(&self, fields: &CsvFields, place: usize) -> Option<Vec<u8>> {
        self.in_text(fields.get(place)?)
    }

    /// Its value where the column's text is `text`.
    pub fn in_text(&self, text: &[u8]) -> Option<Vec<u8>> {
        if self.steps.is_empty() {
            return Some(text.to_vec());
        }
        let raw: &RawValue = serde_json::from_slice(text).ok()?;
        shown(self.steps.iter().try_fold(raw.get(), |json, step| step.of(json))?)
    }

    /// Its value in a row as `row_to_json` writes it. Of columns that are no JSON only texts, numbers and booleans read as
    /// they do in CSV.
    pub fn in_json(&self, row: &[u8]) -> Option<Vec<u8>> {
        let raw: &RawValue = serde_json::from_slice(row).ok()?;
        let value = Step::Key(self.column.clone()).of(raw.get())?;
        match value {
            "true" if self.steps.is_empty() => Some(b"t".to_vec()),
            "false" if self.steps.is_empty() => Some(b"f".to_vec()),
            value => shown(self.steps.iter().try_fold(value, |json, step| step.of(json))?),
        }
    }
}

/// As SQL would be given it.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if self.column.chars().all(is_plain) && !self.column.starts_with(|c: char| c.is_ascii_digit()) {
            f.write_str(&self.column)?;
        } else {
            write!(f, "\"{}\"", self.column.replace('"', "\"\""))?;
        }
        for (number, step) in self.steps.iter().enumerate() {
            f.write_str(if number + 1 == self.steps.len() { "->>" } else { "->" })?;
            match step {
                Step::Key(key) => write!(f, "'{}'", key.replace('\'', "''"))?,
                Step::Index(index) => write!(f, "{index}")?,
            }
        }
        Ok(())
    }
}

impl Step {
    /// The value that a JSON text has there; of a key that stands twice the last, as the server takes it.
    fn of<'a>(&self, json: &'a str) -> Option<&'a str> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        match (self, json.as_bytes().first()?) {
            (Step::Key(key), b'{') => Member(key).deserialize(&mut deserializer).ok()?,
            (Step::Index(index), b'[') => {
                let items = Items.deserialize(&mut deserializer).ok()?;
                let place = if *index < 0 { items.len().checked_add_signed(*index as isize)? } else { *index as usize };
                items.get(place).copied()
            }
            _ => None,
        }
    }
}

/// What `->>` makes of a JSON value.
fn shown(json: &str) -> Option<Vec<u8>> {
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(json).ok().map(String::into_bytes),
        _ if json == "null" => None,
        _ => Some(json.as_bytes().to_vec()),
    }
}

struct Member<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = Option<&'de str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(IsKey(self.0))? {
            if is_it {
                found = Some(map.next_value::<&RawValue>()?.get());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Whether a key is the wanted one, without a copy of it.
struct IsKey<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for IsKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

struct Items;

impl<'de> DeserializeSeed<'de> for Items {
    type Value = Vec<&'de str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items {
    type Value = Vec<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element::<&RawValue>()? {
            all.push(item.get());
        }
        Ok(all)
    }
}

/// The column that a text begins with, and what follows it.
fn column(text: &str) -> Result<(String, &str), NotASubject> {
    if text.is_empty() {
        return Err(NotASubject("it is empty"));
    }
    if text.starts_with('"') {
        let (name, rest) = quoted(text, '"')?;
        return if name.is_empty() {
            Err(NotASubject("the column has no name"))
        } else {
            Ok((name, rest.trim_start()))
        };
    }
    let (name, rest) = text.find("->").map_or((text, ""), |at| text.split_at(at));
    let name = name.trim_end();
    if name.is_empty() || name.contains(['\'', '"', '(', ')', ':', ';', '.']) {
        return Err(NotASubject(
            "it begins with no column; a name with other than letters and digits stands in quotes",
        ));
    }
    Ok((name.to_owned(), rest))
}

fn step(text: &str) -> Result<(Step, &str), NotASubject> {
    if text.starts_with('\'') {
        let (key, rest) = quoted(text, '\'')?;
        return Ok((Step::Key(key), rest));
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
    // A minus can also begin the next step.
    let end = text.find("->").map_or(end, |at| at.min(end));
    let (number, rest) = text.split_at(end);
    let index = number.trim_end().parse().map_err(|_| NotASubject("a step is a key in single quotes, or a number"))?;
    Ok((Step::Index(index), rest))
}

/// The text between quotes, of which a doubled one is one, and what follows.
fn quoted(text: &str, quote: char) -> Result<(String, &str), NotASubject> {
    let (mut out, mut rest) = (String::new(), &text[1..]);
    loop {
        let end = rest.find(quote).ok_or(NotASubject("a quote is not closed"))?;
        out.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix(quote) {
            Some(behind) => {
                out.push(quote);
                rest = behind;
            }
            None => return Ok((out, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(path: &str, text: &str) -> Option<String> {
        let value = Subject::parse(path).unwrap().in_text(text.as_bytes())?;
        Some(String::from_utf8(value).unwrap())
    }

    #[test]
    fn columns_and_paths_are_read() {
        for (text, shown) in [
            ("email", "email"),
            (" \"E-mail\" ", "\"E-mail\""),
            ("customerEmail", "\"customerEmail\""),
            ("data->>'customer_email'", "data->>'customer_email'"),
            ("data -> 'a''b' -> 2 ->> 'x'", "data->'a''b'->2->>'x'"),
            ("data->-1->>0", "data->-1->>0"),
            ("\"a\"\"->b\"->>'k'", "\"a\"\"->b\"->>'k'"),
        ] {
            let subject = Subject::parse(text).unwrap();
            assert_eq!(subject.to_string(), shown);
            assert_eq!(Subject::parse(shown).unwrap(), subject);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "  ",
            "->>'a'",
            "data->'a'",
            "data->>'a'->>'b'",
            "data->>'a",
            "data->>",
            "data->>a",
            "lower(email)",
            "a;b",
            "\"\"",
            "\"a",
            "t.email",
            "data->>'a' x",
            "email::text",
        ] {
            assert!(Subject::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_is_what_the_server_gives() {
        let json = r#"{"a": {"b": [1, "x\u0041\"", null, {"c": 1.50}]}, "n": null, "t": true, "d": 1, "d": "2"}"#;
        for (path, value) in [
            ("c->'a'->'b'->>1", Some("xA\"")),
            ("c->'a'->'b'->>0", Some("1")),
            ("c->'a'->'b'->>2", None),
            ("c->'a'->'b'->-1->>'c'", Some("1.50")),
            ("c->'a'->'b'->>9", None),
            ("c->'a'->'b'->>-9", None),
            ("c->'a'->>'b'", Some(r#"[1, "x\u0041\"", null, {"c": 1.50}]"#)),
            ("c->>'n'", None),
            ("c->>'t'", Some("true")),
            ("c->>'d'", Some("2")),
            ("c->>'missing'", None),
            ("c->>0", None),
            ("c->'n'->>'x'", None),
        ] {
            assert_eq!(of(path, json).as_deref(), value, "{path}");
        }
        assert_eq!(of("c", "{ x").as_deref(), Some("{ x"));
        assert_eq!(of("c->>'a'", "{ x"), None);
    }

    #[test]
    fn a_row_of_json_has_the_values_of_its_csv() {
        let row = br#"{"email":"a@b\n","n":42,"t":true,"data":{"k": "v"},"none":null}"#;
        for (path, value) in [
            ("email", Some("a@b\n")),
            ("n", Some("42")),
            ("t", Some("t")),
            ("data->>'k'", Some("v")),
            ("none", None),
            ("x", None),
        ] {
            let found = Subject::parse(path).unwrap().in_json(row);
            assert_eq!(found.as_deref(), value.map(str::as_bytes), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_subject_is_read_as_it_is_shown(
            column in "[a-zA-Z\"' .>-]{1,8}",
            keys in prop::collection::vec(prop_oneof![
                "[a-z'\" >-]{0,6}".prop_map(Step::Key),
                (-5_i64..5).prop_map(Step::Index)
            ], 0..4),
        ) {
            let subject = Subject { column, steps: keys };
            prop_assert_eq!(Subject::parse(&subject.to_string()).unwrap(), subject);
        }

        #[test]
        fn no_bytes_break_it(text in prop::collection::vec(any::<u8>(), 0..40), path in "[a-z>'\"0-9-]{0,12}") {
            if let Ok(subject) = Subject::parse(&path) {
                let _ = (subject.in_text(&text), subject.in_json(&text));
            }
        }
    }
}
