//! What stands around the sections: the head with its policy, the title, the list of contents, how the page was made.

use sha2::{Digest, Sha256};

use super::html::Html;
use super::{Page, sections, show, summary};

const SHEET: &str = include_str!("page.css");

pub fn write(page: &Page) -> String {
    let mut html = Html::default();
    html.doctype();
    html.element("html", &[("lang", "en")], |html| {
        html.element("head", &[], |html| head(html, page));
        html.element("body", &[], |html| {
            html.words("a", &[("class", "skip"), ("href", "#summary")], "Skip to the summary");
            html.element("header", &[], |html| title(html, page));
            html.element("nav", &[("aria-label", "Contents")], contents);
            html.element("main", &[], |html| {
                summary::write(html, page);
                for section in sections::ALL {
                    html.element(
                        "section",
                        &[("id", section.id), ("aria-labelledby", &format!("{}-title", section.id))],
                        |html| {
                            html.words("h2", &[("id", &format!("{}-title", section.id))], section.title);
                            (section.write)(html, page);
                        },
                    );
                }
            });
            html.element("footer", &[], |html| footer(html, page));
        });
    });
    html.finish()
}

/// The lines of the style sheet joined, so that the page is one line.
fn sheet() -> String {
    SHEET.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

fn head(html: &mut Html, page: &Page) {
    let sheet = sheet();
    // Nothing may be loaded or run, and of styles only this sheet is taken.
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        base64(&Sha256::digest(sheet.as_bytes()))
    );
    html.empty("meta", &[("charset", "utf-8")]);
    html.empty("meta", &[("http-equiv", "Content-Security-Policy"), ("content", &policy)]);
    html.empty("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
    html.empty("meta", &[("name", "color-scheme"), ("content", "light dark")]);
    html.empty("meta", &[("name", "referrer"), ("content", "no-referrer")]);
    html.empty("meta", &[("name", "generator"), ("content", &format!("agent_backup {}", page.report.made.extension))]);
    html.words("title", &[], &format!("Backup evidence: {}, {}", page.report.made.database, period(page)));
    html.style(&sheet);
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, place| bits << 8 | u32::from(three.get(place).copied().unwrap_or(0)));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

fn period(page: &Page) -> String {
    format!("{} to {} UTC", show::moment(page.report.period.from), show::moment(page.report.period.to))
}

fn title(html: &mut Html, page: &Page) {
    let made = &page.report.made;
    html.words("p", &[("class", "kicker")], "Backup evidence");
    html.element("h1", &[], |html| {
        html.text("Database ");
        html.told(&made.database);
    });
    html.element("p", &[("class", "period")], |html| {
        html.moment(page.report.period.from);
        html.text(" to ");
        html.moment(page.report.period.to);
        html.text(" UTC");
    });
    html.element("dl", &[("class", "made")], |html| {
        fact(html, "Made", |html| {
            html.moment(made.at);
            html.text(" UTC");
        });
        fact(html, "By", |html| {
            html.told(&made.session_user);
            if made.current_user != made.session_user {
                html.text(" as ");
                html.told(&made.current_user);
            }
            html.text(", from ");
            html.told(&made.client);
        });
        fact(html, "Server", |html| {
            html.told(&made.server);
            html.text(&format!(", cluster {}", made.system_identifier));
            html.text(if made.is_standby { ", a standby" } else { "" });
        });
        fact(html, "Versions", |html| {
            html.text(&format!("agent_backup {}, PostgreSQL ", made.extension));
            html.told(&made.postgresql);
        });
    });
}

fn fact(html: &mut Html, name: &str, value: impl FnOnce(&mut Html)) {
    html.element("div", &[], |html| {
        html.words("dt", &[], name);
        html.element("dd", &[], value);
    });
}

fn contents(html: &mut Html) {
    html.element("ol", &[], |html| {
        for section in sections::ALL {
            html.element("li", &[], |html| html.words("a", &[("href", &format!("#{}", section.id))], section.title));
        }
    });
}

fn footer(html: &mut Html, page: &Page) {
    html.words("h2", &[("id", "method")], "How this page was made");
    html.element("p", &[], |html| {
        html.text("By ");
        html.words("code", &[], "agent_backup.evidence_report()");
        html.text(
            " from the catalogue and the logs of this database alone. All times are in UTC, days are days in UTC. The period includes \
             its first moment and not its last one. Health, objectives, the plan of retention and access are as they were when the \
             page was made; the rest is of the period. Sizes count by a thousand.",
        );
    });
    html.words(
        "p",
        &[],
        "A backup is good when it is complete and no verification found damage. Backups that retention removed since are counted as \
         made; whether they were verified is known from the log of verifications. Where this page says not evidenced, nothing in this \
         database tells: it may be shown elsewhere.",
    );
    if page.report.period.to > page.report.made.at {
        html.words("p", &[], "The period was not over when the page was made: it is judged until then.");
    }
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let pairs = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, encoded) in pairs {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
