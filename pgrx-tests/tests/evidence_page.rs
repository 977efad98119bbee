//! The page of evidence in a real browser: light, dark, on a phone and on paper. It asks the network for nothing and the
//! console stays empty; nothing is too wide, what is drawn has a name, and every text can be told from what is behind it.
//! What was seen is left in `target/evidence/`, to look at.

use std::path::{Path, PathBuf};
use std::process::Command;

use agent_backup_suite::browser::{Browser, save};
use agent_backup_suite::{database, history, one};
use serde_json::{Value, json};

/// Texts whose colour is too near to what is behind them.
const CONTRAST: &str = r"
    const parsed = text => (text.match(/[\d.]+/g) || []).map(Number);
    const light = rgb => { const [r, g, b] = rgb.map(v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const behind = element => { for (let at = element; at; at = at.parentElement) {
        const colour = parsed(getComputedStyle(at).backgroundColor); if (colour.length === 3 || colour[3] === 1) return colour.slice(0, 3); }
        return [255, 255, 255]; };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), bad = [];
    let seen = 0;
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement, style = getComputedStyle(element);
        if (!walker.currentNode.textContent.trim() || !element.checkVisibility() || parseFloat(style.fontSize) < 2) continue;
        if (['title', 'desc'].includes(element.localName)) continue;
        const colour = parsed(element.namespaceURI.endsWith('svg') ? style.fill : style.color).slice(0, 3);
        const [a, b] = [light(colour), light(behind(element))], ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        seen += 1;
        if (ratio < 4.5) bad.push(`${ratio.toFixed(2)} ${element.localName}.${element.className.baseVal ?? element.className}: ${walker.currentNode.textContent.slice(0, 40)}`);
    }
    return { seen, bad };";

/// What is wider than the window, but for tables in their frames.
const OVERFLOW: &str = r"
    const wide = [...document.querySelectorAll('body *')].filter(element => !element.closest('.wide') && !element.closest('.skip')
        && element.checkVisibility() && element.getBoundingClientRect().right > innerWidth + 1);
    return { inner: innerWidth, scroll: document.scrollingElement.scrollWidth,
        wide: wide.slice(0, 5).map(element => `${element.localName}.${element.className.baseVal ?? element.className}`) };";

const HEADINGS: &str =
    "return [...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(heading => Number(heading.localName[1]));";

fn seen() -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target/evidence");
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

fn picture(browser: &Browser, name: &str) {
    let picture = browser.devtools("Page.captureScreenshot", json!({"captureBeyondViewport": true, "format": "png"}));
    save(&picture["data"], &seen().join(name));
}

fn window(browser: &Browser, width: u32, height: u32, is_phone: bool) {
    let metrics = json!({"width": width, "height": height, "deviceScaleFactor": if is_phone { 2 } else { 1 }, "mobile": is_phone});
    browser.devtools("Emulation.setDeviceMetricsOverride", metrics);
}

fn scheme(browser: &Browser, scheme: &str) {
    let media = json!({"media": "", "features": [{"name": "prefers-color-scheme", "value": scheme}]});
    browser.devtools("Emulation.setEmulatedMedia", media);
}

#[track_caller]
fn assert_fits(browser: &Browser) {
    let found = browser.script(OVERFLOW);
    assert_eq!(found["scroll"], found["inner"], "{found}");
    assert_eq!(found["wide"], json!([]), "{found}");
}

#[track_caller]
fn assert_readable(browser: &Browser) {
    let found = browser.script(CONTRAST);
    assert_eq!(found["bad"], json!([]), "too little contrast");
    assert!(found["seen"].as_u64().unwrap() > 200, "{found}");
}

/// Every node that is read out as an image has a name, and there are as many as there are drawings.
fn assert_named(browser: &Browser) {
    let tree = browser.devtools("Accessibility.getFullAXTree", json!({}));
    let nodes = tree["nodes"].as_array().unwrap();
    let of = |role: &'static str| {
        nodes.iter().filter(move |node| node["ignored"] != json!(true) && node["role"]["value"] == role)
    };
    let name = |node: &Value| node["name"]["value"].as_str().unwrap_or_default().to_owned();
    let drawings = browser.script("return document.querySelectorAll('svg').length").as_u64().unwrap();
    assert!(drawings >= 7, "{drawings}");
    assert_eq!(of("image").count() as u64, drawings);
    assert!(of("image").all(|node| name(node).len() > 10));
    assert!(
        of("table").count() > 10 && of("table").all(|node| !name(node).is_empty()),
        "tables are named by their captions"
    );
}

fn assert_headings_in_order(browser: &Browser) {
    let headings: Vec<u64> =
        browser.script(HEADINGS).as_array().unwrap().iter().map(|level| level.as_u64().unwrap()).collect();
    assert_eq!(headings.iter().filter(|level| **level == 1).count(), 1);
    assert!(headings.windows(2).all(|two| two[1] <= two[0] + 1), "{headings:?}");
}

/// What the browser asked for since it opened the page: the file, and nothing else.
fn assert_asked_for_nothing_else(browser: &Browser, page: &Path) {
    let log = browser.log("performance");
    let messages = log.iter().filter_map(|line| serde_json::from_str::<Value>(line["message"].as_str()?).ok());
    let asked: Vec<String> = messages
        .filter(|message| message["message"]["method"] == "Network.requestWillBeSent")
        .map(|message| message["message"]["params"]["request"]["url"].as_str().unwrap().to_owned())
        .collect();
    assert!(!asked.is_empty(), "the log of the network has the page itself");
    let own = format!("file://{}", page.display());
    assert!(asked.iter().all(|url| *url == own), "{asked:?}");
}

fn assert_paper(browser: &Browser) {
    let pdf = browser.devtools("Page.printToPDF", json!({"preferCSSPageSize": true, "printBackground": false}));
    let file = seen().join("print.pdf");
    save(&pdf["data"], &file);
    let output =
        Command::new("pdftoppm").args(["-r", "50", "-png"]).arg(&file).arg(seen().join("print")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = Command::new("pdftotext").args(["-layout"]).arg(&file).arg("-").output().unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    // What is folded away on the screen, and the last column of the widest table, are on paper.
    for words in
        ["Backups by the day", "Decisions, newest backup first", "Saved before", "Why not", "How this page was made"]
    {
        assert!(text.contains(words), "{words} is not on paper");
    }
    assert!(text.matches('\u{C}').count() < 60, "it is a report and not a book");
}

#[test]
fn the_page_is_right_in_a_browser() {
    let Some(browser) = Browser::start(&seen()) else { return };
    let db = database();
    history::live_through(&db);
    let page: String = one(&mut db.client(), "SELECT agent_backup.evidence_report('2026-03-01Z', '2026-04-15Z')");
    let file = seen().join("evidence.html");
    std::fs::write(&file, &page).unwrap();
    window(&browser, 1280, 900, false);
    // What the browser asks for by itself when it starts is no matter of the page.
    browser.blank();
    browser.log("performance");
    browser.open(&file);
    assert_eq!(browser.script("return document.querySelectorAll('script, img, link, iframe').length"), json!(0));
    assert!(browser.script("return document.body.innerText").as_str().unwrap().contains("<script>alert(1)</script>"));
    for (name, width, is_phone) in
        [("light", 1280, false), ("dark", 1280, false), ("phone", 360, true), ("phone-dark", 360, true)]
    {
        scheme(&browser, if name.contains("dark") { "dark" } else { "light" });
        window(&browser, width, 900, is_phone);
        assert_fits(&browser);
        assert_readable(&browser);
        picture(&browser, &format!("{name}.png"));
    }
    // Folded tables are no wider than the window either.
    browser.script("document.querySelectorAll('details').forEach(details => details.open = true)");
    assert_fits(&browser);
    assert_readable(&browser);
    window(&browser, 1280, 900, false);
    assert_named(&browser);
    assert_headings_in_order(&browser);
    browser.script("document.querySelectorAll('details').forEach(details => details.open = false)");
    assert_paper(&browser);
    assert_eq!(browser.log("browser"), Vec::<Value>::new(), "the console is empty");
    assert_asked_for_nothing_else(&browser, &file);
    refuses_what_is_put_in(&browser, &page);
}

/// The policy of the page holds: what somebody puts into the file neither runs nor loads nor is styled.
fn refuses_what_is_put_in(browser: &Browser, page: &str) {
    let file = seen().join("tampered.html");
    let inside = "<main><script>document.title = 'ran'</script><style>h1 { display: none }</style><img src=\"http://127.0.0.1:9/x.png\"><p id=\"p\" style=\"color: red\">";
    std::fs::write(&file, page.replacen("<main>", inside, 1)).unwrap();
    browser.open(&file);
    assert_ne!(browser.script("return document.title"), json!("ran"));
    assert_eq!(browser.script("return getComputedStyle(document.querySelector('h1')).display"), json!("block"));
    assert_ne!(browser.script("return getComputedStyle(document.getElementById('p')).color"), json!("rgb(255, 0, 0)"));
    let refused = browser.log("browser");
    assert!(refused.len() >= 4, "{refused:?}");
    std::fs::remove_file(&file).unwrap();
}
