//! A change of a row as the log keeps it: the row after it, and of an update the fields that it changed as they were. Both
//! images come back from that.

use std::cmp::Ordering;

use super::fields::CsvFields;
use super::project::Projection;
use super::text::{Place, csv_field};

/// Fields that an update changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Their numbers, from 1, rising.
    pub columns: Vec<usize>,
    /// Their values before, as a line of CSV.
    pub before: Vec<u8>,
}

/// The fields in which two images of the same columns differ, by a comparison of their texts: what `logged` must come to.
#[cfg(test)]
pub(super) fn changed(old: &CsvFields, new: &CsvFields) -> Changed {
    let places: Vec<usize> = (0..old.len()).filter(|place| old.get(*place) != new.get(*place)).collect();
    let mut before = vec![];
    Projection::new(places.clone()).row(old, &mut before);
    Changed { columns: places.into_iter().map(|place| place + 1).collect(), before }
}

/// The image before an update: `new` with the values of `before` in the fields `columns`. None where they do not fit.
pub fn image_before(new: &CsvFields, columns: &[usize], before: &CsvFields) -> Option<Vec<u8>> {
    if !columns.is_empty() && before.len() != columns.len() {
        return None;
    }
    let place = if new.len() == 1 { Place::Alone } else { Place::Among };
    let (mut out, mut next) = (vec![], 0);
    for index in 0..new.len() {
        if index > 0 {
            out.push(b',');
        }
        let value = match columns.get(next).map_or(Ordering::Less, |column| (index + 1).cmp(column)) {
            Ordering::Equal => {
                next += 1;
                before.get(next - 1)
            }
            Ordering::Less => new.get(index),
            Ordering::Greater => return None,
        };
        if let Some(value) = value {
            csv_field(value, place, &mut out);
        }
    }
    (next == columns.len()).then_some(out)
}

/// The text of a row's key: of one column its value, of several a line of CSV. None where a part of it is null.
pub fn key(fields: &CsvFields, places: &[usize]) -> Option<Vec<u8>> {
    if places.is_empty() || places.iter().any(|place| fields.get(*place).is_none()) {
        return None;
    }
    if let [only] = places {
        return fields.get(*only).map(<[u8]>::to_vec);
    }
    let mut out = vec![];
    Projection::new(places.to_vec()).row(fields, &mut out);
    Some(out)
}

/// As `key`, of the values of its columns.
pub fn key_of(values: &[&[u8]]) -> Vec<u8> {
    if let [only] = values {
        return only.to_vec();
    }
    let mut out = vec![];
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        csv_field(value, Place::Among, &mut out);
    }
    out
}

/// What changes of one key come to, whatever their order: images that came and went again cancel out. Only images of one
/// shape can be told to be the same; where the shape changed in between, the first change and the last one count.
#[derive(Debug)]
pub struct Net<T> {
    left: Vec<T>,
    came: Vec<T>,
    first: Option<Option<T>>,
    last: Option<T>,
    shapes_differ: bool,
}

impl<T> Default for Net<T> {
    fn default() -> Self {
        Net { left: Vec::new(), came: Vec::new(), first: None, last: None, shapes_differ: false }
    }
}

/// A row of some shape.
pub trait Shaped {
    /// Whether both have the same fields, so that they can be compared.
    fn is_like(&self, other: &Self) -> bool;
}

/// The row of a key before and after its changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sides<T> {
    pub before: Option<T>,
    pub after: Option<T>,
    /// The changes are no chain: others, which were not told, stand between them.
    pub is_broken: bool,
}

impl<T: PartialEq + Shaped + Clone> Net<T> {
    /// A change, in the order of the log: the image that it took away and the one that it brought.
    pub fn change(&mut self, left: Option<T>, came: Option<T>) {
        let known = self.first.iter().flatten().chain(&self.last).chain(&self.left).chain(&self.came).next().cloned();
        let differs = |image: &T| known.as_ref().is_some_and(|known| !known.is_like(image));
        self.shapes_differ |= left.iter().chain(&came).any(differs);
        self.first.get_or_insert_with(|| left.clone());
        self.last.clone_from(&came);
        if let Some(image) = left {
            cancel_or_keep(&mut self.came, &mut self.left, image);
        }
        if let Some(image) = came {
            cancel_or_keep(&mut self.left, &mut self.came, image);
        }
    }

    /// None where nothing changed in the end.
    pub fn sides(self) -> Option<Sides<T>> {
        if self.left.is_empty() && self.came.is_empty() {
            return None;
        }
        if self.shapes_differ {
            return Some(Sides { before: self.first.flatten(), after: self.last, is_broken: false });
        }
        let is_broken = self.left.len() > 1 || self.came.len() > 1;
        let (before, after) = (self.left.into_iter().next(), self.came.into_iter().next_back());
        Some(Sides { before, after, is_broken })
    }
}

fn cancel_or_keep<T: PartialEq>(against: &mut Vec<T>, keep: &mut Vec<T>, image: T) {
    match against.iter().position(|other| *other == image) {
        Some(place) => drop(against.remove(place)),
        None => keep.push(image),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(row: &str) -> CsvFields {
        let mut fields = CsvFields::default();
        fields.read(row.as_bytes()).unwrap();
        fields
    }

    fn back(old: &str, new: &str) -> String {
        let changed = changed(&fields(old), &fields(new));
        let before = fields(std::str::from_utf8(&changed.before).unwrap());
        String::from_utf8(image_before(&fields(new), &changed.columns, &before).unwrap()).unwrap()
    }

    #[test]
    fn the_image_before_an_update_comes_back() {
        for (old, new) in
            [("1,a,b", "1,a,c"), ("1,,\"\"", "1,\"\",x"), ("1", "2"), ("\"\"", "x"), ("a,b", "a,b"), ("\"\\.\"", "1")]
        {
            assert_eq!(back(old, new), old);
        }
    }

    #[test]
    fn only_what_changed_is_kept() {
        let kept = changed(&fields("1,a,,x"), &fields("1,b,,\"\""));
        assert_eq!((kept.columns, kept.before), (vec![2, 4], b"a,x".to_vec()));
    }

    #[test]
    fn fields_that_do_not_fit_are_refused() {
        assert_eq!(image_before(&fields("1,2"), &[3], &fields("x")), None);
        assert_eq!(image_before(&fields("1,2"), &[2, 1], &fields("x,y")), None);
        assert_eq!(image_before(&fields("1,2"), &[1], &fields("x,y")), None);
    }

    #[test]
    fn a_key_of_one_column_is_its_text() {
        assert_eq!(key(&fields("\"a,b\",2"), &[0]), Some(b"a,b".to_vec()));
        assert_eq!(key(&fields("\"a,b\",2"), &[1, 0]), Some(b"2,\"a,b\"".to_vec()));
        assert_eq!(key_of(&[b"2", b"a,b"]), b"2,\"a,b\"");
        assert_eq!(key_of(&[b"a,b"]), b"a,b");
        assert_eq!(key(&fields("\"a,b\",2"), &[]), None);
        assert_eq!(key(&fields(",2"), &[0]), None);
    }

    /// Numbers up to 99 are of one shape, those above of another.
    impl Shaped for u8 {
        fn is_like(&self, other: &Self) -> bool {
            (*self > 99) == (*other > 99)
        }
    }

    fn net(changes: &[(Option<u8>, Option<u8>)]) -> Option<Sides<u8>> {
        let mut net = Net::default();
        for (left, came) in changes {
            net.change(*left, *came);
        }
        net.sides()
    }

    #[test]
    fn a_chain_that_others_broke_is_told() {
        assert!(net(&[(Some(1), Some(2)), (Some(3), Some(4))]).is_some_and(|sides| sides.is_broken));
    }

    #[test]
    fn where_the_shape_changed_the_first_and_the_last_change_count() {
        let sides = |before, after| Some(Sides { before, after, is_broken: false });
        assert_eq!(net(&[(None, Some(1)), (Some(101), None)]), sides(None, None));
        assert_eq!(net(&[(Some(1), Some(2)), (Some(102), None)]), sides(Some(1), None));
        assert_eq!(net(&[(Some(1), Some(2)), (Some(102), Some(103))]), sides(Some(1), Some(103)));
    }

    #[test]
    fn images_that_come_and_go_cancel_out() {
        let sides = |before, after| Some(Sides { before, after, is_broken: false });
        assert_eq!(net(&[(Some(1), Some(2)), (Some(2), Some(3))]), sides(Some(1), Some(3)));
        assert_eq!(net(&[(None, Some(1)), (Some(1), None)]), None);
        assert_eq!(net(&[(Some(1), None), (None, Some(1))]), None);
        assert_eq!(net(&[(Some(1), None), (None, Some(2))]), sides(Some(1), Some(2)));
        // A trigger that changed the row again is told of before the change that fired it.
        assert_eq!(net(&[(Some(2), Some(3)), (Some(1), Some(2))]), sides(Some(1), Some(3)));
    }

    proptest! {
        #[test]
        fn every_update_can_be_taken_back(rows in prop::collection::vec((prop::option::of("[a,\"\n]{0,3}"), prop::option::of("[a,\"\n]{0,3}")), 1..6)) {
            let place = if rows.len() == 1 { Place::Alone } else { Place::Among };
            let line = |values: Vec<&Option<String>>| {
                let mut row = vec![];
                for (index, value) in values.into_iter().enumerate() {
                    if index > 0 { row.push(b','); }
                    if let Some(value) = value { csv_field(value.as_bytes(), place, &mut row); }
                }
                String::from_utf8(row).unwrap()
            };
            let old = line(rows.iter().map(|(old, _)| old).collect());
            let new = line(rows.iter().map(|(_, new)| new).collect());
            prop_assert_eq!(back(&old, &new), old);
        }

        #[test]
        fn any_chain_of_changes_comes_to_its_ends(states in prop::collection::vec(prop::option::of(0u8..4), 2..12)) {
            let changes: Vec<_> = states.windows(2).map(|pair| (pair[0], pair[1])).collect();
            let (first, last) = (states[0], *states.last().unwrap());
            let expected = (first != last).then_some(Sides { before: first, after: last, is_broken: false });
            prop_assert_eq!(net(&changes), expected);
        }
    }
}
