//! What a person reads in ten seconds: the verdict, a few numbers, and what needs attention.

use super::controls::Verdict;
use super::data::Status;
use super::html::Html;
use super::table::Tone;
use super::{Page, show};

/// More than this is not read.
const MOST: usize = 8;

pub fn write(html: &mut Html, page: &Page) {
    html.element("section", &[("id", "summary"), ("aria-labelledby", "summary-title")], |html| {
        html.words("h2", &[("id", "summary-title")], "In short");
        verdict(html, page);
        html.element("dl", &[("class", "tiles")], |html| tiles(html, page));
        attention(html, page);
    });
}

fn count(page: &Page, verdict: Verdict) -> i64 {
    page.controls.iter().filter(|control| control.verdict == verdict).count() as i64
}

fn verdict(html: &mut Html, page: &Page) {
    let [met, not_met, unknown] =
        [Verdict::Met, Verdict::NotMet, Verdict::NotEvidenced].map(|verdict| count(page, verdict));
    let (tone, words) = match (not_met, unknown) {
        (0, 0) => (Tone::Good, "Every criterion that backups bear on is met."),
        (0, _) => (Tone::Warn, "Nothing is known to be amiss, and not all is evidenced."),
        _ => (Tone::Bad, "Some criteria are not met."),
    };
    html.element("div", &[("class", &format!("verdict {}", tone.class()))], |html| {
        html.words("p", &[("class", "headline")], words);
        html.element("p", &[], |html| {
            html.data(Some("criteria-met"), &met.to_string(), &met.to_string());
            html.text(" of ");
            html.data(Some("criteria"), &page.controls.len().to_string(), &page.controls.len().to_string());
            html.text(" criteria of SOC 2 are met, ");
            html.data(Some("criteria-not-met"), &not_met.to_string(), &not_met.to_string());
            html.text(" are not met and ");
            html.data(Some("criteria-not-evidenced"), &unknown.to_string(), &unknown.to_string());
            html.text(" are not evidenced by this database. ");
            html.text(&newest(page));
        });
    });
}

fn newest(page: &Page) -> String {
    let good = page.report.backups.iter().rev().find(|backup| backup.is_regular && backup.is_good());
    match good {
        Some(backup) => format!("The newest good backup began at {} UTC.", show::moment(backup.started_at)),
        None => "There is no good backup.".into(),
    }
}

fn tile(html: &mut Html, name: &str, tone: Tone, id: &str, value: i64, note: &str) {
    html.element("div", &[("class", &format!("tile {}", tone.class()))], |html| {
        html.words("dt", &[], name);
        html.element("dd", &[("class", "value")], |html| html.data(Some(id), &value.to_string(), &show::count(value)));
        html.words("dd", &[("class", "note")], note);
    });
}

fn tone(is_bad: bool, is_good: bool) -> Tone {
    match (is_bad, is_good) {
        (true, _) => Tone::Bad,
        (_, true) => Tone::Good,
        _ => Tone::Plain,
    }
}

fn tiles(html: &mut Html, page: &Page) {
    let (report, facts) = (page.report, &page.facts);
    let good = facts.count(|backup| backup.is_good());
    let made = facts.count(|_| true);
    let bytes = facts.sets.iter().flat_map(|set| &set.made).map(|backup| backup.bytes).sum();
    tile(
        html,
        "Good backups",
        tone(made > 0 && good == 0, good > 0),
        "good-backups",
        good,
        &format!("of {} made, {}", show::count(made), show::bytes(bytes)),
    );
    let bad = made - good;
    let failed = facts.count(|backup| backup.status == Status::Failed);
    let note = format!(
        "{} failed, {} damaged",
        show::count(failed),
        show::count(facts.count(|backup| backup.status == Status::Complete && backup.is_refuted()))
    );
    let open = facts.troubles.iter().any(|trouble| trouble.mended_at.is_none());
    let bad_tone = if open {
        Tone::Bad
    } else if bad > 0 {
        Tone::Warn
    } else {
        tone(false, made > 0)
    };
    tile(html, "Backups with trouble", bad_tone, "bad-backups", bad, &note);
    let verified = facts.count(|backup| backup.is_verified());
    tile(
        html,
        "Backups verified",
        tone(false, verified > 0),
        "verified-backups",
        verified,
        &format!("{} row by row", show::count(facts.count(|backup| backup.is_decoded()))),
    );
    let drills = || report.drills.iter().filter(|drill| report.period.has(drill.started_at));
    let failed = drills().filter(|drill| drill.status == "failed").count() as i64;
    tile(
        html,
        "Recovery drills",
        tone(failed > 0, drills().count() > 0),
        "drill-count",
        drills().count() as i64,
        &format!("{} failed", show::count(failed)),
    );
    let met = report.objectives.iter().filter(|row| row.met == Some(true)).count() as i64;
    let all = report.objectives.len() as i64;
    tile(
        html,
        "Recovery objectives met now",
        tone(report.objectives.iter().any(|row| row.met == Some(false)), met == all && all > 0),
        "objectives-met",
        met,
        &format!("of {}", show::count(all)),
    );
    audit(html, page);
}

fn audit(html: &mut Html, page: &Page) {
    let audit = &page.report.audit;
    let acts = audit.acts.iter().map(|acts| acts.ok + acts.failed + acts.denied).sum();
    let broken = audit.chain.iter().any(|link| link.status != "ok");
    let note = match (broken, audit.chain.is_empty()) {
        (true, _) => "its chain is broken",
        (_, true) => "its chain was not checked",
        _ => "its chain is whole",
    };
    tile(html, "Acts in the audit log", tone(broken, !audit.chain.is_empty()), "acts", acts, note);
}

fn attention(html: &mut Html, page: &Page) {
    let not_met = page.controls.iter().filter(|control| control.verdict == Verdict::NotMet);
    let mut lines: Vec<(String, String)> =
        not_met.map(|control| (control.id.to_owned(), control.because.clone())).collect();
    let failed = page.report.health.iter().filter(|row| row.severity == "FAILED");
    lines.extend(failed.map(|row| (row.subject.clone(), show::name(&row.reason))));
    if lines.is_empty() {
        return;
    }
    html.words("h3", &[], "What needs attention");
    html.element("ul", &[("class", "attention")], |html| {
        for (subject, reason) in lines.iter().take(MOST) {
            html.element("li", &[], |html| {
                html.element("strong", &[], |html| html.told(subject));
                html.text(" ");
                html.sentence(reason);
            });
        }
    });
    if lines.len() > MOST {
        html.words("p", &[("class", "more")], &format!("And {} more below.", lines.len() - MOST));
    }
}
