//! The evidence of a period as one HTML page, which needs nothing from outside: no script, no font, no image. Pure: the
//! same rows and times make the same page.

mod buckets;
mod calendar;
mod chart;
pub mod controls;
pub mod data;
mod facts;
#[cfg(test)]
mod fixture;
mod frame;
mod html;
mod sections;
mod show;
mod summary;
mod table;
#[cfg(test)]
mod tests;

use buckets::Buckets;
use controls::Control;
use data::Report;
use facts::Facts;

/// What every section looks at.
struct Page<'a> {
    report: &'a Report,
    facts: Facts<'a>,
    controls: Vec<Control>,
    buckets: Buckets,
}

/// The page: ASCII, on one line, without tabs and backslashes.
pub fn page(report: &Report) -> String {
    let facts = Facts::of(report);
    let controls = controls::all(report, &facts);
    frame::write(&Page { report, facts, controls, buckets: Buckets::of(report) })
}
