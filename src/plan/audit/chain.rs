//! Whether a chain of entries is whole: each is as it was written, follows the one before, and none is gone.

use std::collections::BTreeMap;

/// An entry as the log has it, and what its hash must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub entry_id: i64,
    pub previous_hash: Option<String>,
    pub entry_hash: String,
    /// Computed anew from what the entry says.
    pub computed: String,
}

/// The newest entry that somebody knew of: its number, and its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub entry_id: i64,
    pub entry_hash: String,
}

/// A head that was noted elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Who noted it, in words.
    pub noted_by: String,
    pub head: Head,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `entry`, `order`, `gap`, `tail` or `anchor`.
    pub check: &'static str,
    /// The entry that is wrong, or the first that is missing.
    pub entry_id: i64,
    pub details: String,
}

/// A walk along the log in the order of its numbers.
#[derive(Debug, Default)]
pub struct Chain {
    last: Option<Head>,
    entries: u64,
    /// Heads that were noted elsewhere and not passed yet, by their number.
    anchors: BTreeMap<i64, Vec<Anchor>>,
    findings: Vec<Finding>,
}

impl Chain {
    pub fn new(anchors: Vec<Anchor>) -> Self {
        let mut chain = Chain::default();
        for anchor in anchors {
            chain.anchors.entry(anchor.head.entry_id).or_default().push(anchor);
        }
        chain
    }

    /// Goes on to the next entry.
    pub fn pass(&mut self, link: Link) {
        let Link { entry_id, previous_hash, entry_hash, computed } = link;
        let expected = self.last.as_ref().map_or(1, |last| last.entry_id + 1);
        if entry_id != expected {
            let missing = numbers(expected, entry_id - 1);
            self.find("gap", expected, format!("{missing} missing before entry {entry_id}"));
        } else if previous_hash.as_ref() != self.last.as_ref().map(|last| &last.entry_hash) {
            let before = if expected == 1 { "a beginning".into() } else { format!("entry {}", expected - 1) };
            self.find("order", entry_id, format!("entry {entry_id} does not continue {before} as it is now"));
        }
        if entry_hash != computed {
            self.find("entry", entry_id, format!("entry {entry_id} is not as it was written"));
        }
        for anchor in self.anchors.remove(&entry_id).unwrap_or_default() {
            if anchor.head.entry_hash != entry_hash {
                let told = format!("entry {entry_id} is not the one that {} noted", anchor.noted_by);
                self.find("anchor", entry_id, told);
            }
        }
        self.last = Some(Head { entry_id, entry_hash });
        self.entries += 1;
    }

    /// The verdict at the end of the log: what is wrong, and else the newest entry and how many there are.
    pub fn end(mut self) -> (Vec<Finding>, Option<Head>, u64) {
        let last = self.last.as_ref().map_or(0, |last| last.entry_id);
        // One finding for all that is gone from the end: who noted the newest of it says the most.
        let beyond = self.anchors.split_off(&(last + 1));
        if let Some((newest, anchors)) = beyond.last_key_value() {
            let noted_by = anchors.first().map_or("a witness", |anchor| anchor.noted_by.as_str());
            let told = format!("{} missing at the end: {noted_by} noted entry {newest}", numbers(last + 1, *newest));
            self.find("tail", last + 1, told);
        }
        // What is left was noted of numbers that are not in the log.
        for anchor in std::mem::take(&mut self.anchors).into_values().flatten() {
            let Anchor { noted_by, head } = anchor;
            self.find("anchor", head.entry_id, format!("entry {}, which {noted_by} noted, is missing", head.entry_id));
        }
        (self.findings, self.last, self.entries)
    }

    fn find(&mut self, check: &'static str, entry_id: i64, details: String) {
        self.findings.push(Finding { check, entry_id, details });
    }
}

/// `entries 3 to 7 are`, `entry 3 is`.
fn numbers(first: i64, last: i64) -> String {
    if first >= last { format!("entry {first} is") } else { format!("entries {first} to {last} are") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(entry_id: i64, previous: Option<&str>) -> String {
        format!("h{entry_id}({})", previous.unwrap_or_default())
    }

    fn whole(count: i64) -> Vec<Link> {
        let mut previous: Option<String> = None;
        let mut links = Vec::new();
        for entry_id in 1..=count {
            let entry_hash = hash(entry_id, previous.as_deref());
            let computed = entry_hash.clone();
            links.push(Link { entry_id, previous_hash: previous, entry_hash: entry_hash.clone(), computed });
            previous = Some(entry_hash);
        }
        links
    }

    fn anchor(link: &Link, noted_by: &str) -> Anchor {
        let head = Head { entry_id: link.entry_id, entry_hash: link.entry_hash.clone() };
        Anchor { noted_by: noted_by.into(), head }
    }

    fn verdict(links: Vec<Link>, anchors: Vec<Anchor>) -> Vec<(&'static str, i64, String)> {
        let mut chain = Chain::new(anchors);
        links.into_iter().for_each(|link| chain.pass(link));
        chain.end().0.into_iter().map(|finding| (finding.check, finding.entry_id, finding.details)).collect()
    }

    #[test]
    fn a_whole_chain_has_no_finding_and_says_how_long_it_is() {
        let mut chain = Chain::new(vec![anchor(&whole(3)[1], "backup b")]);
        whole(3).into_iter().for_each(|link| chain.pass(link));
        let (findings, head, entries) = chain.end();
        assert_eq!((findings.len(), head.map(|head| head.entry_id), entries), (0, Some(3), 3));
        assert_eq!(Chain::new(Vec::new()).end(), (Vec::new(), None, 0));
    }

    #[test]
    fn an_edit_is_named() {
        let mut links = whole(3);
        links[1].computed = "other".into();
        assert_eq!(verdict(links, Vec::new()), [("entry", 2, "entry 2 is not as it was written".into())]);
    }

    #[test]
    fn an_edit_with_a_hash_to_it_breaks_the_next_one() {
        let mut links = whole(3);
        links[1].entry_hash = "forged".into();
        links[1].computed = "forged".into();
        assert_eq!(verdict(links, Vec::new()), [("order", 3, "entry 3 does not continue entry 2 as it is now".into())]);
    }

    #[test]
    fn entries_removed_at_the_beginning_in_the_middle_and_at_the_end_are_named() {
        let without = |gone: &[i64], anchors| {
            verdict(whole(6).into_iter().filter(|link| !gone.contains(&link.entry_id)).collect(), anchors)
        };
        assert_eq!(without(&[1, 2], Vec::new()), [("gap", 1, "entries 1 to 2 are missing before entry 3".into())]);
        assert_eq!(without(&[4], Vec::new()), [("gap", 4, "entry 4 is missing before entry 5".into())]);
        let noted = vec![anchor(&whole(6)[3], "backup a"), anchor(&whole(6)[5], "backup b")];
        let told = "entries 5 to 6 are missing at the end: backup b noted entry 6";
        assert_eq!(without(&[5, 6], noted), [("tail", 5, told.into())]);
    }

    #[test]
    fn a_replaced_log_is_not_the_one_that_was_noted() {
        let mut other = whole(4);
        let mut previous = None;
        for link in &mut other {
            link.entry_hash = format!("x{}", link.entry_hash);
            link.computed.clone_from(&link.entry_hash);
            link.previous_hash = previous.replace(link.entry_hash.clone());
        }
        let noted = vec![anchor(&whole(4)[2], "backup b")];
        let told = "entry 3 is not the one that backup b noted";
        assert_eq!(verdict(other, noted), [("anchor", 3, told.into())]);
    }

    #[test]
    fn an_empty_log_that_somebody_noted_is_gone() {
        let told = "entries 1 to 4 are missing at the end: backup b noted entry 4";
        assert_eq!(verdict(Vec::new(), vec![anchor(&whole(4)[3], "backup b")]), [("tail", 1, told.into())]);
    }

    #[test]
    fn entries_that_changed_places_do_not_continue_each_other() {
        let mut links = whole(4);
        let (second, third) = (links[1].clone(), links[2].clone());
        links[1] = Link { entry_id: 2, computed: hash(2, second.previous_hash.as_deref()), ..third };
        links[2] = Link { entry_id: 3, ..second };
        let found = verdict(links, Vec::new());
        assert!(found.iter().any(|(check, entry, _)| (*check, *entry) == ("entry", 2)), "{found:?}");
        assert!(found.iter().any(|(check, entry, _)| (*check, *entry) == ("order", 3)), "{found:?}");
    }
}
