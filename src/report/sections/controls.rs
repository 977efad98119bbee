//! Each criterion with what is done for it, its evidence and its verdict.

use crate::report::Page;
use crate::report::controls::Verdict;
use crate::report::html::Html;
use crate::report::show::sentence;
use crate::report::table::{Tone, label};

pub fn write(html: &mut Html, page: &Page) {
    html.words(
        "p",
        &[],
        "The criteria of the Trust Services Criteria (2017) that backups bear on, in our words. A verdict follows from the numbers \
         beside it and is about backups of this database alone; whether a control as a whole is effective is for the auditor to say.",
    );
    for control in &page.controls {
        html.element("article", &[("class", "control"), ("id", &format!("control-{}", control.id))], |html| {
            html.element("h3", &[], |html| {
                html.words("span", &[("class", "criterion")], control.id);
                html.text(" ");
                html.text(control.asks);
            });
            html.element("p", &[("class", "result")], |html| {
                label(html, tone(control.verdict), control.verdict.words());
                html.text(" ");
                html.element("span", &[("class", "because")], |html| html.sentence(&sentence(&control.because)));
            });
            html.words("p", &[("class", "product")], control.product);
            html.element("ul", &[("class", "evidence")], |html| {
                for line in &control.evidence {
                    html.element("li", &[], |html| html.sentence(line));
                }
            });
        });
    }
}

fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Met => Tone::Good,
        Verdict::NotMet => Tone::Bad,
        Verdict::NotEvidenced => Tone::Plain,
    }
}
