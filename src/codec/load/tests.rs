use super::super::datetime::{self, Style, Zone};
use super::super::{number, numeric};
use super::*;
use proptest::prelude::*;

const KINDS: &[Target] = &[
    Target::Input,
    Target::Bool,
    Target::Int2,
    Target::Int4,
    Target::Int8,
    Target::Oid,
    Target::Date,
    Target::Timestamp(6),
    Target::Timestamp(3),
    Target::TimestampTz(6),
    Target::Uuid,
    Target::Bytea,
    Target::Text(usize::MAX),
    Target::Text(2),
    Target::Padded(2),
    Target::Numeric,
    Target::NumericOf { precision: 5, scale: 2 },
];

/// What one field becomes: `Err` with the text that is left to the server.
fn one(target: Target, text: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
    let mut loaded = Loaded::default();
    loaded.bytes.push(7); // so that alignment is work
    let with_nul = [text, b"\0"].concat();
    match loaded.cell(target, &with_nul, Letters::Utf8).unwrap() {
        Cell::Null => unreachable!("a text is no null"),
        Cell::Word(word) => Ok(word.cast_signed().to_string().into_bytes()),
        Cell::At(at) => {
            assert_eq!(at % 8, 0);
            Ok(loaded.bytes[at as usize..].to_vec())
        }
        Cell::Text(at, length) => {
            assert_eq!(loaded.bytes[(at + length) as usize], 0);
            Err(loaded.bytes[at as usize..(at + length) as usize].to_vec())
        }
    }
}

fn word(target: Target, text: &str) -> Option<i64> {
    one(target, text.as_bytes()).ok().map(|value| String::from_utf8(value).unwrap().parse().unwrap())
}

/// The bytes behind the header, whose length must be theirs.
fn varlena(target: Target, text: &[u8]) -> Option<Vec<u8>> {
    let value = one(target, text).ok()?;
    let header = u32::from_ne_bytes(value[..4].try_into().unwrap());
    let total = if cfg!(target_endian = "little") { header >> 2 } else { header };
    assert_eq!(total as usize, value.len());
    Some(value[4..].to_vec())
}

fn numeric_text(text: &str) -> Option<String> {
    let mut out = vec![];
    numeric::write(&varlena(Target::Numeric, text.as_bytes())?, &mut out).unwrap();
    Some(String::from_utf8(out).unwrap())
}

#[test]
fn what_is_out_of_a_types_range_is_left_to_the_server() {
    assert_eq!([word(Target::Int2, "32767"), word(Target::Int2, "-32768")], [Some(32767), Some(-32768)]);
    assert_eq!([word(Target::Int2, "32768"), word(Target::Int2, "-32769")], [None, None]);
    assert_eq!([word(Target::Int4, "2147483648"), word(Target::Oid, "-1")], [None, None]);
    assert_eq!(word(Target::Oid, "4294967295"), Some(4_294_967_295));
    assert_eq!(word(Target::Int8, "9223372036854775807"), None);
    for odd in ["", "-", "+1", " 1", "1 ", "1e2", "0x1", "1_0", "--1"] {
        assert_eq!(word(Target::Int8, odd), None, "{odd}");
    }
}

#[test]
fn dates_that_are_none_are_left_to_the_server() {
    assert_eq!(word(Target::Date, "2000-02-29"), Some(59));
    assert_eq!(word(Target::Date, "0001-01-01"), Some(-730_119));
    for odd in [
        "0000-01-01",
        "1900-02-29",
        "2000-13-01",
        "2000-00-01",
        "2000-04-31",
        "2000-01-00",
        "infinity",
        "0001-01-01 BC",
        "2000-1-01",
        "2000/01/01",
        "-001-01-01",
        "123456-01-01",
    ] {
        assert_eq!(word(Target::Date, odd), None, "{odd}");
    }
    assert_eq!(word(Target::Timestamp(6), "2000-01-01 00:00:01.5"), Some(1_500_000));
    assert_eq!(word(Target::TimestampTz(6), "2000-01-01 00:00:00+00"), Some(0));
    for odd in [
        "2000-01-01",
        "2000-01-01 24:00:00",
        "2000-01-01 00:00:60",
        "2000-01-01 00:00:00.",
        "2000-01-01T00:00:00",
        "2000-01-01 00:00:00.1234567",
        "2000-01-01 00:00:00 BC",
        "2000-01-01 00:00:00+00",
        "infinity",
    ] {
        assert_eq!(word(Target::Timestamp(6), odd), None, "{odd}");
    }
    for odd in
        ["2000-01-01 00:00:00", "2000-01-01 00:00:00+01", "2000-01-01 00:00:00+00 BC", "2000-01-01 00:00:00.1234+00"]
    {
        assert_eq!(word(Target::TimestampTz(3), odd), None, "{odd}");
    }
}

#[test]
fn a_numeric_that_its_column_would_round_is_left_to_the_server() {
    let target = Target::NumericOf { precision: 5, scale: 2 };
    for good in ["999.99", "0.00", "-000.10"] {
        assert!(varlena(target, good.as_bytes()).is_some(), "{good}");
    }
    for odd in ["1", "1.0", "1.000", "1000.00", "NaN", "1e2", ".50", "1.", "", "-"] {
        assert!(varlena(target, odd.as_bytes()).is_none(), "{odd}");
    }
    assert_eq!(numeric_text("-0.00").as_deref(), Some("0.00"));
}

#[test]
fn texts_that_a_column_would_cut_or_pad_are_left_to_the_server() {
    assert_eq!(varlena(Target::Text(2), b"ab"), Some(b"ab".to_vec()));
    assert_eq!([varlena(Target::Text(2), b"abc"), varlena(Target::Text(2), "éa".as_bytes())], [None, None]);
    assert_eq!(varlena(Target::Padded(2), b"a "), Some(b"a ".to_vec()));
    assert_eq!([varlena(Target::Padded(2), b"a"), varlena(Target::Padded(2), "é".as_bytes())], [None, None]);
    let mut loaded = Loaded::default();
    assert!(matches!(loaded.cell(Target::Text(9), "é\0".as_bytes(), Letters::Ascii), Some(Cell::Text(..))));
    assert!(matches!(loaded.cell(Target::Text(9), "é\0".as_bytes(), Letters::Any), Some(Cell::At(_))));
}

fn plan(width: usize, letters: Letters) -> LoadPlan {
    LoadPlan { width, taken: (0..width).map(|number| (number, Target::Text(usize::MAX))).collect(), letters }
}

#[test]
fn rows_that_no_encoder_wrote_are_refused() {
    let read = |letters, plain: &[u8]| plan(2, letters).read(plain, |_| true).map(|loaded| loaded.rows.len());
    assert_eq!(read(Letters::Utf8, b"a,b\n\"c\n\",\n"), Ok(2));
    assert_eq!(read(Letters::Utf8, b"a,b\nc\n").unwrap_err().row, 1);
    assert!(read(Letters::Utf8, b"a,\0\n").is_err() && read(Letters::Any, b"a,\0\n").is_err());
    assert!(read(Letters::Utf8, b"a,\xff\n").is_err() && read(Letters::Any, b"a,\xff\n").is_ok());
    assert!(read(Letters::Utf8, b"a,\"b\n").is_err());
}

#[test]
fn only_wanted_rows_and_taken_fields_come() {
    let plan = LoadPlan { width: 3, taken: vec![(2, Target::Int4)], letters: Letters::Utf8 };
    let loaded = plan.read(b"a,b,1\nx,b,2\na,b,\n", |fields| fields.get(0) == Some(b"a")).unwrap();
    assert_eq!((loaded.rows, loaded.cells), (vec![0, 2], vec![Cell::Word(1), Cell::Null]));
}

proptest! {
    #[test]
    fn integers_come_back(value in any::<i64>()) {
        for (target, fits) in [(Target::Int2, i16::try_from(value).is_ok()), (Target::Int4, i32::try_from(value).is_ok()),
                               (Target::Oid, u32::try_from(value).is_ok())] {
            prop_assert_eq!(word(target, &value.to_string()), fits.then_some(value));
        }
        prop_assert!(word(Target::Int8, &value.to_string()).is_none_or(|read| read == value));
        prop_assert_eq!(word(Target::Int8, &(value / 100).to_string()), Some(value / 100));
        let small = value as i16;
        prop_assert_eq!(word(Target::Int2, &small.to_string()), Some(small.into()));
    }

    #[test]
    fn moments_come_back(micros in -63_000_000_000_000_000i64..3_000_000_000_000_000_000) {
        let mut text = vec![];
        datetime::timestamp(micros, Style::Iso, Zone::Utc, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        prop_assert_eq!(word(Target::TimestampTz(6), &text), Some(micros));
        prop_assert_eq!(word(Target::Timestamp(6), text.trim_end_matches("+00")), Some(micros));
        let day = micros.div_euclid(86_400_000_000);
        let mut text = vec![];
        datetime::date(day as i32, &mut text).unwrap();
        prop_assert_eq!(word(Target::Date, &String::from_utf8(text).unwrap()), Some(day));
    }

    #[test]
    fn numerics_come_back(text in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?") {
        let is_zero = text.bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.'));
        let expected = if is_zero { text.trim_start_matches('-') } else { &text };
        prop_assert_eq!(numeric_text(&text).unwrap(), expected);
        let value = varlena(Target::Numeric, text.as_bytes()).unwrap();
        let (digits, _) = value[2..].as_chunks::<2>();
        let is_zero_digit = |digit: Option<&[u8; 2]>| digit.is_some_and(|digit| *digit == [0, 0]);
        prop_assert!(!is_zero_digit(digits.first()) && !is_zero_digit(digits.last()));
    }

    #[test]
    fn uuids_and_bytes_come_back(value in any::<[u8; 16]>(), bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut text = vec![];
        number::uuid(value, &mut text);
        prop_assert_eq!(one(Target::Uuid, &text), Ok(value.to_vec()));
        let mut text = b"\\x".to_vec();
        number::hex(&bytes, &mut text);
        prop_assert_eq!(varlena(Target::Bytea, &text), Some(bytes.clone()));
    }

    #[test]
    fn no_text_breaks_it_and_what_is_not_made_stays(text in "[-+.:0-9a-f \\\\xtBC]{0,40}") {
        for target in KINDS {
            if let Err(left) = one(*target, text.as_bytes()) {
                prop_assert_eq!(left, text.as_bytes());
            }
        }
    }

    #[test]
    fn no_bytes_break_it(plain in prop::collection::vec(any::<u8>(), 0..60), letters in 0..3) {
        let letters = [Letters::Utf8, Letters::Any, Letters::Ascii][letters as usize];
        for width in 1..3 {
            let _ = LoadPlan { width, taken: KINDS.iter().map(|kind| (0, *kind)).collect(), letters }.read(&plain, |_| true);
        }
    }
}
