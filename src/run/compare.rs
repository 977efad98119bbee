//! Two sides compared row by row, in bounded memory. A first reading of both sums the digests of the rows, as a whole
//! and in buckets by their keys; where all sums are equal, so are the sides. A second reading keeps only the rows of the
//! buckets that differ, sorts them by key and pairs them.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use agent_backup_core::stream::RowDigest;
use pgrx::check_for_interrupts;

use crate::error::Result;
use crate::run::sides::{Common, Matched, Shape, Side};
use crate::run::sweep::{self, SweptRow, Work};
use crate::table::sorted::{Sorted, SortedRow, SortedRows};

/// Buckets of keys: a few rows that differ touch a few of them.
const BUCKETS: usize = 1 << 16;

/// What a side holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum {
    pub rows: u64,
    /// Of the text of the compared columns.
    pub digest: RowDigest,
}

/// Both sides.
#[derive(Debug, Clone, Copy)]
pub struct Sums {
    pub left: Sum,
    pub right: Sum,
}

impl Sums {
    pub fn are_equal(&self) -> bool {
        self.left == self.right
    }
}

/// How a row differs, seen from the right side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is on the left only.
    Missing,
    /// It is on the right only.
    Extra,
    Changed,
}

impl Change {
    pub fn word(self) -> &'static str {
        match self {
            Change::Missing => "missing",
            Change::Extra => "extra",
            Change::Changed => "changed",
        }
    }
}

/// The text of a row: of the columns that are compared, and of the side's others.
#[derive(Debug, Clone)]
pub struct RowText {
    pub compared: Vec<u8>,
    pub rest: Vec<u8>,
}

/// A row that is not the same on both sides: at least one side has it.
pub struct Difference {
    pub left: Option<RowText>,
    pub right: Option<RowText>,
}

impl Difference {
    pub fn change(&self) -> Change {
        match (&self.left, &self.right) {
            (Some(_), Some(_)) => Change::Changed,
            (Some(_), None) => Change::Missing,
            (None, _) => Change::Extra,
        }
    }
}

/// Compares the sides under the active snapshot; gives each row that differs to `each`, ordered by the text of the key.
pub fn sides(
    (left, right): (&Side, &Side),
    matched: &Matched,
    each: &mut dyn FnMut(Difference) -> Result<()>,
) -> Result<Sums> {
    let whole = matched.key.is_empty();
    let one = summed(left, &matched.common, &matched.left, whole)?;
    let other = summed(right, &matched.common, &matched.right, whole)?;
    let sums = Sums { left: one.sum(), right: other.sum() };
    if sums.are_equal() && one.buckets == other.buckets {
        return Ok(sums);
    }
    let wanted: Arc<[bool]> = one.buckets.iter().zip(&other.buckets).map(|(one, other)| one != other).collect();
    let mut sorted = Sorted::begin();
    for (side, shape, is_left) in [(left, &matched.left, true), (right, &matched.right, false)] {
        let pick = Pick { wanted: Arc::clone(&wanted), whole, is_left };
        sweep::all(side, &matched.common, shape, pick, |rows| {
            rows.iter().for_each(|row| sorted.put(row));
            Ok(())
        })?;
    }
    pair(sorted.finish(), whole, each)?;
    Ok(sums)
}

fn bucket(key: &[u8]) -> usize {
    // The default hasher has no seed, so both readings of both sides agree.
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    (hasher.finish() % BUCKETS as u64) as usize
}

/// The text of a row's key: that of the key's columns, or of the whole row.
fn key_text<'a>(shape: &Shape, row: &SweptRow<'a>, whole: bool, buffer: &'a mut Vec<u8>) -> &'a [u8] {
    if whole {
        return row.compared;
    }
    buffer.clear();
    shape.key.row(row.fields, buffer);
    buffer
}

struct Summed {
    rows: u64,
    digest: RowDigest,
    buckets: Vec<RowDigest>,
}

impl Summed {
    fn sum(&self) -> Sum {
        Sum { rows: self.rows, digest: self.digest }
    }
}

fn summed(side: &Side, common: &[Common], shape: &Shape, whole: bool) -> Result<Summed> {
    let mut summed = Summed { rows: 0, digest: RowDigest::default(), buckets: vec![RowDigest::default(); BUCKETS] };
    summed.rows = sweep::all(side, common, shape, Digests { whole }, |items| {
        for (bucket, digest) in items {
            summed.digest.merge(digest);
            summed.buckets[bucket as usize].merge(digest);
        }
        Ok(())
    })?;
    Ok(summed)
}

/// The first reading.
struct Digests {
    whole: bool,
}

impl Work for Digests {
    type Item = (u16, RowDigest);
    const DIGESTS: bool = true;

    fn row(&self, shape: &Shape, row: &SweptRow, buffer: &mut Vec<u8>, out: &mut Vec<Self::Item>) {
        let key = key_text(shape, row, self.whole, buffer);
        out.push((bucket(key) as u16, row.digest));
    }
}

/// The second reading.
struct Pick {
    wanted: Arc<[bool]>,
    whole: bool,
    is_left: bool,
}

impl Work for Pick {
    type Item = SortedRow;
    const DIGESTS: bool = false;

    fn row(&self, shape: &Shape, row: &SweptRow, buffer: &mut Vec<u8>, out: &mut Vec<Self::Item>) {
        let key = key_text(shape, row, self.whole, buffer);
        if !self.wanted[bucket(key)] {
            return;
        }
        let mut rest = Vec::new();
        if !shape.rest.is_empty() {
            shape.rest.row(row.fields, &mut rest);
        }
        // A row that is its own key is not kept twice.
        let text = if self.whole { Vec::new() } else { row.compared.to_vec() };
        out.push(SortedRow { key: key.to_vec(), text, rest, is_left: self.is_left });
    }
}

/// Rows of one key that have no equal on the other side, so far.
#[derive(Default)]
struct Group {
    left: Vec<RowText>,
    right: Vec<RowText>,
}

impl Group {
    /// Equal rows cancel out: they come one after another.
    fn add(&mut self, row: RowText, is_left: bool) {
        let (own, other) = if is_left { (&mut self.left, &mut self.right) } else { (&mut self.right, &mut self.left) };
        if other.last().is_some_and(|last| last.compared == row.compared) {
            other.pop();
        } else {
            own.push(row);
        }
    }

    /// What is left is paired in order.
    fn flush(&mut self, each: &mut dyn FnMut(Difference) -> Result<()>) -> Result<()> {
        let (mut left, mut right) = (self.left.drain(..), self.right.drain(..));
        loop {
            match (left.next(), right.next()) {
                (None, None) => return Ok(()),
                (left, right) => each(Difference { left, right })?,
            }
        }
    }
}

fn pair(rows: SortedRows, whole: bool, each: &mut dyn FnMut(Difference) -> Result<()>) -> Result<()> {
    let (mut group, mut key) = (Group::default(), None);
    for row in rows {
        check_for_interrupts!();
        if key.as_ref() != Some(&row.key) {
            group.flush(each)?;
            key = Some(row.key.clone());
        }
        let compared = if whole { row.key } else { row.text };
        group.add(RowText { compared, rest: row.rest }, row.is_left);
    }
    group.flush(each)
}
