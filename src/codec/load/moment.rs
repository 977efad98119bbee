//! `date` and `timestamp` from the ISO form that the encoder writes; other forms are for the server to read.

/// Days since 2000-01-01 of `YYYY-MM-DD`.
#[inline]
pub(super) fn date(text: &[u8]) -> Option<i32> {
    let (year, rest) = match text.len() {
        10 => (digits(text.get(..4)?)?, text.get(4..)?),
        11 => (digits(text.get(..5)?)?, text.get(5..)?),
        _ => return None,
    };
    let &[b'-', a, b, b'-', c, d] = rest else { return None };
    let (month, day) = (digits(&[a, b])?, digits(&[c, d])?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    (year > 0 && (1..=last).contains(&day)).then_some(())?;
    i32::try_from(days(year, month, day)).ok()
}

/// Microseconds since 2000-01-01 of `YYYY-MM-DD HH:MM:SS`, with a fraction of at most `most` digits.
#[inline]
pub(super) fn timestamp(text: &[u8], most: usize) -> Option<i64> {
    let space = if text.get(10) == Some(&b' ') { 10 } else { 11 };
    let (day, time) = text.split_at_checked(space)?;
    let (&[b' ', a, b, b':', c, d, b':', e, f], fraction) = time.split_first_chunk::<9>()? else { return None };
    let (hour, minute, second) = (digits(&[a, b])?, digits(&[c, d])?, digits(&[e, f])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let micros = match fraction {
        [] => 0,
        [b'.', places @ ..] if (1..=most.min(6)).contains(&places.len()) => {
            digits(places)? * 10_i64.pow(6 - places.len() as u32)
        }
        _ => return None,
    };
    let day = i64::from(date(day)?);
    Some(((day * 24 + hour) * 60 + minute) * 60_000_000 + second * 1_000_000 + micros)
}

#[inline]
fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

/// The inverse of `datetime::civil`.
#[inline]
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day - 1 - 730_425
}
