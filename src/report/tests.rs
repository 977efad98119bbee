//! The page as a whole: well made, bounded, the same for the same rows, and nothing in it that a name could have put there.

use chrono::TimeDelta;

use super::data::*;
use super::fixture::{at, backup, empty, good, verdict};
use super::page;

/// What makes trouble in a page, in a drawing or in a table.
const EVIL: [&str; 7] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='x",
    "a\\b\tc\nd",
    "\u{202E}txt.exe \u{5E9}\u{5DC}\u{5D5}\u{5DD}",
    "a\u{2069}b\u{2068}c",
    "]]></style><style>*{display:none}</style>&lt;",
];

/// A report in which every text is this one.
fn all_named(evil: &str) -> Report {
    let mut report = good();
    let evil = || evil.to_owned();
    let made = &mut report.made;
    for text in [
        &mut made.session_user,
        &mut made.current_user,
        &mut made.client,
        &mut made.database,
        &mut made.server,
        &mut made.postgresql,
    ] {
        *text = evil();
    }
    report.sets[0].name = evil();
    for backup in &mut report.backups {
        (backup.id, backup.set, backup.error) =
            (format!("{}{}", evil(), backup.id), evil(), backup.error.as_ref().map(|_| evil()));
        if let Some(removed) = &mut backup.removed {
            (removed.by, removed.reasons) = (evil(), vec![evil()]);
        }
    }
    report.points.iter_mut().for_each(|point| point.set = evil());
    let finding = Finding {
        at: at("2026-03-05T00:00:00Z"),
        table: evil(),
        backup: Some(evil()),
        status: evil(),
        message: evil(),
    };
    report.findings = Listed { rows: vec![finding], total: 90 };
    report.drills.iter_mut().for_each(|drill| {
        (drill.set, drill.by, drill.backup, drill.error) = (evil(), evil(), Some(evil()), Some(evil()))
    });
    report.restores.rows.iter_mut().for_each(|row| (row.tables, row.by, row.mode) = (vec![evil()], evil(), evil()));
    report.jobs.iter_mut().for_each(|job| {
        (job.set, job.job, job.last_error, job.schedule) = (evil(), evil(), Some(evil()), Some(evil()))
    });
    report.objectives.iter_mut().for_each(|row| (row.set, row.scenario, row.reason) = (evil(), evil(), evil()));
    report.plan.iter_mut().for_each(|row| (row.set, row.backup, row.reasons) = (evil(), evil(), vec![evil()]));
    report.copies.iter_mut().for_each(|copy| (copy.set, copy.destination, copy.status) = (evil(), evil(), evil()));
    report
        .grants
        .iter_mut()
        .for_each(|row| (row.object, row.kind, row.role, row.privilege) = (evil(), evil(), evil(), evil()));
    report.members.iter_mut().for_each(|row| (row.role, row.member) = (evil(), evil()));
    report.health.iter_mut().for_each(|row| (row.subject, row.severity, row.reason) = (evil(), evil(), evil()));
    report.audit.acts.iter_mut().for_each(|acts| acts.action = evil());
    report.audit.chain.iter_mut().for_each(|link| (link.check, link.status, link.details) = (evil(), evil(), evil()));
    report.erasures.rows.iter_mut().for_each(|row| {
        (row.id, row.reason, row.by, row.columns, row.status) = (evil(), evil(), evil(), vec![evil()], evil());
    });
    report.disk = Err(evil());
    report
}

/// The tags of a page in their order, without their attributes.
fn tags(page: &str) -> Vec<String> {
    let names = page.split('<').skip(1).map(|rest| rest.split([' ', '>']).next().unwrap_or_default().to_owned());
    names.collect()
}

/// Every element is closed by its own end, in order; the style sheet has no tag in it.
fn assert_balanced(page: &str) {
    let mut open = Vec::new();
    for tag in tags(page) {
        match tag.strip_prefix('/') {
            _ if tag == "!DOCTYPE" || ["meta", "br", "col"].contains(&&*tag) => {}
            Some(end) => assert_eq!(open.pop().as_deref(), Some(end), "{open:?}"),
            None => open.push(tag),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn whatever_a_thing_is_called_the_page_has_the_same_elements() {
    let plain = tags(&page(&all_named("x")));
    for evil in EVIL {
        let made = page(&all_named(evil));
        assert_eq!(tags(&made), plain, "{evil:?}");
        assert!(!made.contains("<script") && !made.contains("<img"), "{evil:?}");
    }
}

#[test]
fn it_is_one_line_of_printable_ascii_without_backslashes() {
    for report in [good(), empty(), all_named(EVIL[3]), all_named(EVIL[4])] {
        let page = page(&report);
        assert!(page.bytes().all(|byte| (0x20..0x7F).contains(&byte) && byte != b'\\'));
        assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">") && page.ends_with("</html>"));
        assert_balanced(&page);
    }
}

#[test]
fn nothing_is_loaded_from_outside_and_nothing_runs() {
    let page = page(&good());
    for word in
        ["http:", "https:", "src=", "url(", "@import", "<link", "<script", "<iframe", " style=", "javascript:", " on"]
    {
        let found: Vec<&str> =
            page.match_indices(word).map(|(start, _)| &page[start..(start + 40).min(page.len())]).collect();
        let found: Vec<&str> = found
            .into_iter()
            .filter(|text| word != " on" || text.split([' ', '>']).nth(1).is_some_and(|name| name.contains('=')))
            .collect();
        assert!(found.is_empty(), "{word}: {found:?}");
    }
    assert!(page.contains("content=\"default-src &#x27;none&#x27;; style-src &#x27;sha256-"));
}

#[test]
fn ids_are_unique_and_what_refers_to_one_finds_it() {
    for report in [good(), empty()] {
        let page = page(&report);
        let of = |name: &str| -> Vec<String> {
            let name = format!(" {name}=\"");
            let parts = page.split(&name).skip(1);
            parts.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
        };
        let mut ids = of("id");
        ids.sort();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count);
        let referred =
            of("aria-labelledby").into_iter().flat_map(|ids| ids.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let anchors = of("href").into_iter().map(|href| href.trim_start_matches('#').to_owned());
        for id in referred.chain(anchors) {
            assert!(ids.contains(&id), "{id} is not there");
        }
    }
}

#[test]
fn headings_go_down_by_one_and_every_table_and_drawing_is_named() {
    for report in [good(), empty()] {
        let page = page(&report);
        let mut last = 0;
        for tag in tags(&page).iter().filter(|tag| tag.len() == 2 && tag.starts_with('h') && *tag != "hr") {
            let level: u32 = tag[1..].parse().unwrap();
            assert!(level <= last + 1, "{tag} after h{last}");
            last = level;
        }
        assert_eq!(page.matches("<table").count(), page.matches("<caption").count());
        assert_eq!(page.matches("<svg").count(), page.matches("<desc").count());
        assert_eq!(page.matches("<svg").count(), page.matches("role=\"img\"").count());
        assert_eq!(page.matches("<th").count() - page.matches("<thead").count(), page.matches(" scope=").count());
    }
}

#[test]
fn the_same_rows_and_times_make_the_same_page() {
    assert_eq!(page(&good()), page(&good()));
    assert_ne!(page(&good()), page(&empty()));
}

#[test]
fn ten_years_of_hourly_backups_make_a_page_that_can_be_sent() {
    let mut report = good();
    report.period.from = at("2016-04-01T00:00:00Z");
    report.sets[0].created_at = report.period.from;
    let hours = (report.period.to - report.period.from).num_hours();
    report.backups = (0..hours)
        .map(|hour| {
            let mut one = backup("shop", 0, 0);
            one.started_at = report.period.from + TimeDelta::hours(hour);
            one.finished_at = one.started_at + TimeDelta::seconds(9);
            one.id = format!("b{hour}");
            if hour % 50 == 3 {
                (one.status, one.error) = (Status::Failed, Some("no".into()));
            }
            one
        })
        .collect();
    let page = page(&report);
    assert!(page.len() < 300_000, "{}", page.len());
    assert!(page.contains("Calendar of set <bdi>shop</bdi>: a cell a month"));
    assert!(page.contains("And 1,693 more, which agent_backup.backups has."), "troubles are cut");
}

#[test]
fn a_cell_says_what_the_day_was() {
    let mut report = good();
    let day = |report: &mut Report, number: i64, change: fn(&mut Backup)| {
        let date = (at("2026-03-01T00:00:00Z") + TimeDelta::days(number)).date_naive();
        report.backups.iter_mut().filter(|backup| backup.started_at.date_naive() == date).for_each(change);
    };
    day(&mut report, 1, |backup| backup.verdict = None);
    day(&mut report, 2, |backup| backup.status = Status::Incomplete);
    day(&mut report, 3, |backup| backup.verdict = verdict(backup.started_at, "failed", "hash"));
    day(&mut report, 4, |backup| backup.status = Status::Failed);
    report.backups.retain(|backup| backup.started_at.date_naive() != at("2026-03-06T00:00:00Z").date_naive());
    let page = page(&report);
    for (class, date, words) in [
        ("v", "2026-03-01", "complete and verified"),
        ("c", "2026-03-02", "complete"),
        ("i", "2026-03-03", "incomplete"),
        ("f", "2026-03-04", "failed or damaged"),
        ("f", "2026-03-05", "failed or damaged"),
        ("m", "2026-03-06", "no backup, though one was due"),
        ("v x", "2026-03-11", "complete and verified"),
    ] {
        let cell = format!("<span class=\"cell {class}\" title=\"{date}: {words}");
        assert!(page.contains(&cell), "{cell}");
    }
    // Of 30 whole days 3 to 6 March have no good backup.
    assert!(page.contains("On 26 of 30 (86 %) days on which one was due there is a good one."));
    assert!(page.contains("None on 2026-03-03, 2026-03-04, 2026-03-05, 2026-03-06."));
}
