//! For tests: values put into PostgreSQL's storage form by other means than the decoders read them.

use serde_json::Value;

/// The stored form of a `numeric`, without length header, from its text.
pub(super) fn numeric(text: &str) -> Vec<u8> {
    let unsigned = text.trim_start_matches('-');
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let padded = format!("{}{whole}{fraction}{}", zeros(whole.len()), zeros(fraction.len()));
    let mut digits: Vec<u16> = padded.as_bytes().chunks(4).map(to_digit).collect();
    let mut weight = whole.len().div_ceil(4) as i32 - 1;
    while digits.first() == Some(&0) {
        digits.remove(0);
        weight -= 1;
    }
    while digits.last() == Some(&0) {
        digits.pop();
    }
    weight = if digits.is_empty() { 0 } else { weight };
    let (negative, scale) = (text.starts_with('-') && !digits.is_empty(), fraction.len() as u16);
    let mut words = if scale < 64 && (-64..64).contains(&weight) {
        vec![0x8000 | u16::from(negative) << 13 | scale << 7 | (weight as u16 & 0x7f)]
    } else {
        vec![u16::from(negative) << 14 | scale, weight as u16]
    };
    words.append(&mut digits);
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn zeros(length: usize) -> String {
    "0".repeat(length.next_multiple_of(4) - length)
}

fn to_digit(four: &[u8]) -> u16 {
    std::str::from_utf8(four).unwrap().parse().unwrap()
}

/// `payload` after a 4-byte length header.
pub(super) fn varlena(payload: &[u8]) -> Vec<u8> {
    let mut bytes = ((payload.len() as u32 + 4) << 2).to_ne_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

/// The stored form of a `jsonb`, without length header. Keys stand in the order of the map.
pub(super) fn jsonb(value: &Value) -> Vec<u8> {
    match value {
        Value::Array(_) | Value::Object(_) => container(value),
        scalar => {
            let mut bytes = container(&Value::Array(vec![scalar.clone()]));
            let header = u32::from_ne_bytes(bytes[..4].try_into().unwrap()) | 0x1000_0000;
            bytes[..4].copy_from_slice(&header.to_ne_bytes());
            bytes
        }
    }
}

fn container(value: &Value) -> Vec<u8> {
    let (count, flag, children): (_, _, Vec<Value>) = match value {
        Value::Array(items) => (items.len(), 0x4000_0000, items.clone()),
        Value::Object(map) => (
            map.len(),
            0x2000_0000,
            map.keys().map(|key| Value::from(key.as_str())).chain(map.values().cloned()).collect(),
        ),
        _ => unreachable!("no container"),
    };
    let mut entries = (count as u32 | flag).to_ne_bytes().to_vec();
    let mut data = vec![];
    for (index, child) in children.iter().enumerate() {
        let start = data.len();
        let kind: u32 = put(child, &mut data);
        // Every 32nd entry tells its end, the others their length.
        let entry =
            if index % 32 == 0 { kind | 0x8000_0000 | data.len() as u32 } else { kind | (data.len() - start) as u32 };
        entries.extend_from_slice(&entry.to_ne_bytes());
    }
    entries.append(&mut data);
    entries
}

fn put(value: &Value, data: &mut Vec<u8>) -> u32 {
    let aligned = data.len().next_multiple_of(4);
    match value {
        Value::String(text) => data.extend_from_slice(text.as_bytes()),
        Value::Bool(false) => return 0x2000_0000,
        Value::Bool(true) => return 0x3000_0000,
        Value::Null => return 0x4000_0000,
        Value::Number(number) => {
            data.resize(aligned, 0);
            data.extend_from_slice(&varlena(&numeric(&number.to_string())));
            return 0x1000_0000;
        }
        Value::Array(_) | Value::Object(_) => {
            data.resize(aligned, 0);
            data.extend_from_slice(&container(value));
            return 0x5000_0000;
        }
    }
    0
}

/// The stored form of a one-dimensional `text[]`, without length header.
pub(super) fn text_array(lower: i32, items: &[Option<String>]) -> Vec<u8> {
    let mut head = [1, 0, 25, items.len() as i32, lower];
    let mut bitmap = vec![];
    if items.iter().any(Option::is_none) {
        bitmap = vec![0u8; items.len().div_ceil(8)];
        for (index, _) in items.iter().enumerate().filter(|(_, item)| item.is_some()) {
            bitmap[index / 8] |= 1 << (index % 8);
        }
        head[1] = (4 + 20 + bitmap.len() as i32 + 7) & !7;
    }
    let mut bytes: Vec<u8> = head.iter().flat_map(|word| word.to_ne_bytes()).collect();
    bytes.append(&mut bitmap);
    bytes.resize((bytes.len() + 4).next_multiple_of(8) - 4, 0);
    for item in items.iter().flatten() {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(&varlena(item.as_bytes()));
    }
    bytes
}
