//! The criteria of SOC 2 (the Trust Services Criteria of 2017) that backups bear on: for each what the product does, what
//! this database has to show for the period, and a verdict that follows from that alone.

mod availability;
mod privacy;
mod security;
#[cfg(test)]
mod tests;

use super::data::Report;
use super::facts::Facts;
use super::show;

/// Whether a criterion's part in backups is fulfilled, as far as this database can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    NotMet,
    /// Nothing here tells: it was not done, or is done where this database cannot see it.
    NotEvidenced,
    Met,
}

impl Verdict {
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Met => "met",
            Verdict::NotMet => "not met",
            Verdict::NotEvidenced => "not evidenced",
        }
    }
}

/// A criterion and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    pub id: &'static str,
    /// What it asks for, in our words.
    pub asks: &'static str,
    pub product: &'static str,
    pub evidence: Vec<String>,
    pub verdict: Verdict,
    pub because: String,
}

impl Control {
    fn new(id: &'static str, asks: &'static str, product: &'static str) -> Self {
        Control {
            id,
            asks,
            product,
            evidence: Vec::new(),
            verdict: Verdict::NotEvidenced,
            because: "nothing here tells".into(),
        }
    }

    fn shows(mut self, evidence: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(evidence);
        self
    }

    fn is(self, verdict: Verdict, because: impl Into<String>) -> Self {
        Control { verdict, because: because.into(), ..self }
    }
}

/// All of them, in the order of their names.
pub fn all(report: &Report, facts: &Facts) -> Vec<Control> {
    vec![
        availability::capacity(report),
        availability::backups(report, facts),
        availability::tests(report, facts),
        privacy::identify(report, facts),
        privacy::dispose(report),
        security::access(report),
        security::roles(report),
        security::movement(report, facts),
        security::monitoring(report, facts),
        security::evaluation(report, facts),
        security::response(facts),
        security::recovery(report),
        privacy::retention(report, facts),
        privacy::erasure(report),
        privacy::integrity(facts),
    ]
}

/// Names for a sentence: the first three, and how many more.
fn list(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(3).map(|name| show::name(&format!("\"{name}\""))).collect();
    match names.len() {
        0..=3 => shown.join(", "),
        many => format!("{} and {} more", shown.join(", "), many - 3),
    }
}
