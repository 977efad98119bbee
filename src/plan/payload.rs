//! What a listener on the channel `agent_backup` gets.

use serde::Serialize;

/// One event. As JSON in ASCII, so that it reads the same whatever the encoding of a database is:
/// `{"event":"failed","job":"daily","set_name":"agent_sdk","run_id":17,"database":"demo",
/// "started_at":"2026-03-01T02:00:00Z","finished_at":"2026-03-01T02:00:04Z","message":"…"}`.
#[derive(Debug, Clone, Serialize)]
pub struct Payload<'a> {
    /// `finished`, `failed` or `overdue`.
    pub event: &'static str,
    pub job: &'a str,
    pub set_name: &'a str,
    /// Number in job_runs; none of what is overdue.
    pub run_id: Option<i64>,
    pub database: &'a str,
    /// RFC 3339; of what is overdue, when it should have.
    pub started_at: String,
    pub finished_at: Option<String>,
    pub message: &'a str,
}

/// The server takes less than 8000 bytes.
const LONGEST: usize = 7900;

impl Payload<'_> {
    /// The JSON, with as much of the message as there is room for.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        let whole = ascii(&serde_json::to_string(self)?);
        if whole.len() <= LONGEST {
            return Ok(whole);
        }
        let (mut fits, mut too_long) = (0, self.message.len());
        while too_long - fits > 1 {
            let middle = fits.midpoint(too_long);
            if self.cut(middle)?.len() <= LONGEST { fits = middle } else { too_long = middle }
        }
        self.cut(fits)
    }

    fn cut(&self, bytes: usize) -> Result<String, serde_json::Error> {
        let message = format!("{}...", &self.message[..self.message.floor_char_boundary(bytes)]);
        Ok(ascii(&serde_json::to_string(&Payload { message: &message, ..self.clone() })?))
    }
}

/// JSON with other letters escaped.
fn ascii(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_ascii() && letter != '\x7f' {
            escaped.push(letter);
        } else {
            letter.encode_utf16(&mut [0; 2]).iter().for_each(|unit| escaped += &format!("\\u{unit:04x}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_payload_is_short_json_that_begins_with_the_message(message in ".{0,20}", times in 0_usize..2000, set in ".{0,63}") {
            let message = message.repeat(times);
            let payload = Payload {
                event: "failed", job: "daily", set_name: &set, run_id: Some(i64::MAX), database: &set,
                started_at: "2026-03-01T02:00:00Z".into(), finished_at: None, message: &message,
            };
            let json = payload.json().unwrap();
            prop_assert!(json.len() < 8000 && json.is_ascii());
            let read: serde_json::Value = serde_json::from_str(&json).unwrap();
            let told = read["message"].as_str().unwrap();
            prop_assert!(told == message || told.len() > 1000 && message.starts_with(told.strip_suffix("...").unwrap()));
            prop_assert_eq!(read["set_name"].as_str().unwrap(), set);
        }
    }
}
