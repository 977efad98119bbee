//! Names of files: made by us from sets, tables and the clock, so that any name is safe and two never meet.

use chrono::{DateTime, Utc};

use super::{Compression, Format};
use crate::crypt;

/// Whether a file is encrypted; its name says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Plain,
    Sealed,
}

impl Form {
    /// Of a file by its name.
    pub fn of(file: &str) -> Self {
        if file.ends_with(crypt::EXTENSION) { Form::Sealed } else { Form::Plain }
    }

    /// What stands at the end of its name.
    pub fn ending(self) -> &'static str {
        match self {
            Form::Plain => "",
            Form::Sealed => crypt::EXTENSION,
        }
    }
}

/// A file's name without what says that it is sealed.
pub fn unsealed(file: &str) -> &str {
    file.strip_suffix(crypt::EXTENSION).unwrap_or(file)
}

/// A name as a part of a file name: ASCII letters, digits, `_` and inner `-` stay, every other byte becomes `%XX`.
/// Different names stay different.
pub fn encode(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for (place, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => encoded.push(char::from(byte)),
            b'-' if place > 0 => encoded.push('-'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// What a table is called in a file: `table` in the schema `public`, else `schema.table`.
pub fn table(schema: &str, name: &str) -> String {
    if schema == "public" { encode(name) } else { format!("{}.{}", encode(schema), encode(name)) }
}

/// The entry of a table inside a container. A file name ends at 255 bytes: a longer one is cut and made unique again
/// by `ordinal`.
pub fn entry(schema: &str, name: &str, format: Format, ordinal: usize) -> String {
    format!("{}.{}", cut(table(schema, name), &ordinal.to_string()), extension(format))
}

/// Bytes of a name that leave room for stamps and endings.
const LIMIT: usize = 200;

fn cut(mut stem: String, unique: &str) -> String {
    if stem.len() > LIMIT {
        stem.truncate(LIMIT);
        stem.push_str(&format!("~{unique}"));
    }
    stem
}

/// The file name extension of a format, without a dot.
pub fn extension(format: Format) -> &'static str {
    match format {
        Format::Csv => "csv",
        Format::Json => "json",
        Format::Sql => "sql",
    }
}

/// The file name extension of a compression, with its dot.
pub fn compressed(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "",
        Compression::Gzip(_) => ".gz",
        Compression::Zstd(_) => ".zst",
    }
}

/// Name of a backup: its start and eight random hex digits.
pub fn backup_id(started: DateTime<Utc>, random: u32) -> String {
    format!("{}-{random:08x}", started.format("%Y%m%dT%H%M%SZ"))
}

/// Suffixes of the files of one backup, in the order in which they are tried: the day, the second, then a count.
pub fn suffixes(started: DateTime<Utc>) -> impl Iterator<Item = String> {
    let second = started.format("%Y%m%d_%H%M%S").to_string();
    let counted = second.clone();
    [started.format("%Y%m%d").to_string(), second]
        .into_iter()
        .chain((2..10_000).map(move |count| format!("{counted}_{count}")))
}

/// The container of a set with a suffix.
pub fn container(set: &str, suffix: &str, compression: Compression, form: Form) -> String {
    format!("{}_backup_{suffix}.tar{}{}", encode(set), compressed(compression), form.ending())
}

/// The manifest beside a container of the same suffix.
pub fn manifest(suffix: &str) -> String {
    format!("metadata_{suffix}.json")
}

/// The suffix of a container's file name, if it is one of this set.
pub fn suffix_of_container<'a>(set: &str, file: &'a str) -> Option<&'a str> {
    let rest = file.strip_prefix(&format!("{}_backup_", encode(set)))?;
    let rest = unsealed(rest);
    rest.strip_suffix(".tar.gz").or_else(|| rest.strip_suffix(".tar.zst"))
}

/// The manifest beside a container of any set, if it has a container's name.
pub fn manifest_of_container(file: &str) -> Option<String> {
    let file = unsealed(file);
    let stem = file.strip_suffix(".tar.gz").or_else(|| file.strip_suffix(".tar.zst"))?;
    stem.rsplit_once("_backup_").map(|(_, suffix)| manifest(suffix))
}

/// Whether a file name is that of a manifest beside a container.
pub fn is_manifest(file: &str) -> bool {
    file.strip_prefix("metadata_").is_some_and(|rest| rest.ends_with(".json"))
}

/// Names of a single exported file, in the order in which they are tried.
pub fn export(schema: &str, name: &str, ending: &str, started: DateTime<Utc>) -> impl Iterator<Item = String> {
    let ending = ending.to_owned();
    stamped(schema, name, "", started).map(move |stem| stem + &ending)
}

/// The directory of a set's incrementals, below that of the set.
pub const INCREMENTALS: &str = "incremental";

/// Names of the two files of an incremental without their endings, in the order in which they are tried.
pub fn incremental(schema: &str, name: &str, started: DateTime<Utc>) -> impl Iterator<Item = String> {
    stamped(schema, name, "_inc", started)
}

/// The rows of an incremental.
pub fn incremental_data(stem: &str, form: Form) -> String {
    format!("{stem}{DATA}{}", form.ending())
}

/// The manifest beside them.
pub fn incremental_manifest(stem: &str) -> String {
    format!("{stem}{MANIFEST}")
}

/// Whether a file of that directory is a manifest (true) or rows (false), and of which stem; none for any other.
pub fn stem_of_incremental(file: &str) -> Option<(&str, bool)> {
    let manifest = file.strip_suffix(MANIFEST).map(|stem| (stem, true));
    manifest
        .or_else(|| unsealed(file).strip_suffix(DATA).map(|stem| (stem, false)))
        .filter(|(stem, _)| stem.contains("_inc_"))
}

const DATA: &str = ".json.gz";
const MANIFEST: &str = ".manifest.json";

fn stamped(schema: &str, name: &str, mark: &str, started: DateTime<Utc>) -> impl Iterator<Item = String> + use<> {
    let whole = table(schema, name);
    // A hash of the whole name tells apart what the cut made equal.
    let hash = crate::stream::sha256_hex(whole.as_bytes()).split_at(8).0.to_owned();
    let stem = format!("{}{mark}_{}", cut(whole, &hash), started.format("%Y%m%d_%H%M%S"));
    let first = stem.clone();
    std::iter::once(first).chain((2..10_000).map(move |count| format!("{stem}_{count}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noon() -> DateTime<Utc> {
        "2025-10-12T14:30:05Z".parse().unwrap()
    }

    #[test]
    fn a_plain_name_stays() {
        assert_eq!(encode("AgentApproval_2"), "AgentApproval_2");
    }

    #[test]
    fn a_hostile_name_is_harmless() {
        assert_eq!(encode("../../x"), "%2E%2E%2F%2E%2E%2Fx");
        assert_eq!(encode("-rf"), "%2Drf");
        assert_eq!(encode("a%2E"), "a%252E");
    }

    #[test]
    fn a_dot_in_a_name_is_no_schema() {
        assert_eq!(table("public", "a.b"), "a%2Eb");
        assert_eq!(table("a", "b"), "a.b");
    }

    #[test]
    fn the_first_of_the_day_has_the_short_name() {
        let names: Vec<_> =
            suffixes(noon()).take(3).map(|s| container("agent_sdk", &s, Compression::Gzip(1), Form::Plain)).collect();
        assert_eq!(
            names,
            [
                "agent_sdk_backup_20251012.tar.gz",
                "agent_sdk_backup_20251012_143005.tar.gz",
                "agent_sdk_backup_20251012_143005_2.tar.gz"
            ]
        );
    }

    #[test]
    fn a_container_tells_its_suffix_and_a_foreign_file_none() {
        assert_eq!(suffix_of_container("s", "s_backup_20251012.tar.zst"), Some("20251012"));
        assert_eq!(suffix_of_container("s", "t_backup_20251012.tar.gz"), None);
        assert_eq!(suffix_of_container("s", "s_backup_20251012.tar.gz.part"), None);
    }

    #[test]
    fn a_sealed_file_has_the_name_of_the_plain_one_and_an_ending() {
        let name = container("s", "20251012", Compression::Zstd(1), Form::Sealed);
        assert_eq!((name.as_str(), Form::of(&name)), ("s_backup_20251012.tar.zst.age", Form::Sealed));
        assert_eq!(suffix_of_container("s", &name), Some("20251012"));
        assert_eq!(unsealed(&name), container("s", "20251012", Compression::Zstd(1), Form::Plain));
        assert_eq!(suffix_of_container("s", "s_backup_20251012.age"), None);
        assert_eq!(stem_of_incremental("t_inc_20251012_143005.json.gz.age"), Some(("t_inc_20251012_143005", false)));
        assert_eq!(stem_of_incremental("t_inc_20251012_143005.manifest.json.age"), None);
    }

    #[test]
    fn an_incremental_is_named_by_table_and_second() {
        let stem = incremental("public", "AgentQuery", noon()).next().unwrap();
        assert_eq!(incremental_data(&stem, Form::Plain), "AgentQuery_inc_20251012_143005.json.gz");
        assert_eq!(stem_of_incremental(&incremental_manifest(&stem)), Some((stem.as_str(), true)));
        assert_eq!(stem_of_incremental(&incremental_data(&stem, Form::Plain)), Some((stem.as_str(), false)));
        assert_eq!(stem_of_incremental("notes.json.gz"), None);
    }

    proptest! {
        #[test]
        fn different_tables_have_different_names(a in ".{1,20}", b in ".{1,20}", c in ".{1,20}", d in ".{1,20}") {
            prop_assert_eq!((&a, &b) == (&c, &d), table(&a, &b) == table(&c, &d));
        }

        #[test]
        fn a_name_is_one_component(name in ".{1,63}") {
            let encoded = entry("public", &name, Format::Csv, 0);
            prop_assert!(!encoded.contains('/') && !encoded.starts_with('.') && encoded.len() <= 255);
        }
    }
}
