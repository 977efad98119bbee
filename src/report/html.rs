//! Writes HTML in which every element is closed and nothing that was told can be read as markup. The text is ASCII on one
//! line, without backslashes and tabs: it is the same in a database of any encoding, and plain COPY leaves it as it is.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};

use super::show;

/// Elements that have no end.
const VOID: [&str; 3] = ["meta", "br", "col"];

/// A page, or a part of one, as it grows.
#[derive(Debug, Default)]
pub struct Html {
    out: String,
}

/// The attributes of an element.
pub type Attributes<'a> = &'a [(&'a str, &'a str)];

impl Html {
    /// The text so far.
    pub fn finish(self) -> String {
        self.out
    }

    /// An element with what `inside` writes between its tags.
    pub fn element(&mut self, tag: &str, attributes: Attributes, inside: impl FnOnce(&mut Self)) {
        self.start(tag, attributes);
        inside(self);
        if !VOID.contains(&tag) {
            let _ = write!(self.out, "</{tag}>");
        }
    }

    /// An element with nothing in it.
    pub fn empty(&mut self, tag: &str, attributes: Attributes) {
        self.element(tag, attributes, |_| ());
    }

    /// An element with words of ours in it.
    pub fn words(&mut self, tag: &str, attributes: Attributes, words: &str) {
        self.element(tag, attributes, |html| html.text(words));
    }

    fn start(&mut self, tag: &str, attributes: Attributes) {
        let _ = write!(self.out, "<{tag}");
        for (name, value) in attributes {
            let _ = write!(self.out, " {name}=\"");
            self.text(value);
            self.out.push('"');
        }
        self.out.push('>');
    }

    /// Words of ours, escaped all the same.
    pub fn text(&mut self, text: &str) {
        text.chars().for_each(|c| self.letter(c));
    }

    /// What somebody else wrote: a name, a reason, an error. Its direction is its own.
    pub fn told(&mut self, text: &str) {
        self.element("bdi", &[], |html| html.text(text));
    }

    /// A sentence of ours in which names stand as `show::name` gives them.
    pub fn sentence(&mut self, sentence: &str) {
        let [start, end] = show::NAME;
        let mut parts = sentence.split(start);
        self.text(parts.next().unwrap_or_default());
        for part in parts {
            let (name, rest) = part.split_once(end).unwrap_or((part, ""));
            self.told(name);
            self.text(rest);
        }
    }

    /// A number that a program reads too.
    pub fn data(&mut self, id: Option<&str>, value: &str, shown: &str) {
        match id {
            Some(id) => self.words("data", &[("id", id), ("value", value)], shown),
            None => self.words("data", &[("value", value)], shown),
        }
    }

    /// A moment, to the minute.
    pub fn moment(&mut self, moment: DateTime<Utc>) {
        let exact = moment.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
        self.words("time", &[("datetime", &exact)], &show::moment(moment));
    }

    /// The style sheet, its lines joined. It is ours, and has no backslash.
    pub fn style(&mut self, sheet: &str) {
        self.start("style", &[]);
        self.out.push_str(sheet);
        self.out.push_str("</style>");
    }

    /// The declaration that a page begins with.
    pub fn doctype(&mut self) {
        self.out.push_str("<!DOCTYPE html>");
    }

    fn letter(&mut self, c: char) {
        let code = u32::from(c);
        match c {
            '&' => self.out.push_str("&amp;"),
            '<' => self.out.push_str("&lt;"),
            '>' => self.out.push_str("&gt;"),
            '"' => self.out.push_str("&quot;"),
            '\'' | '\\' => self.reference(code),
            ' '..='~' => self.out.push(c),
            // The pictures of the control characters.
            '\0'..='\u{1F}' => self.reference(0x2400 + code),
            '\u{7F}' => self.reference(0x2421),
            c if is_unseen(c) => {
                let _ = write!(self.out, "[U+{code:04X}]");
            }
            _ => self.reference(code),
        }
    }

    fn reference(&mut self, code: u32) {
        let _ = write!(self.out, "&#x{code:X};");
    }
}

/// What would turn the text around it, or not be seen at all: it is named.
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9F}' | '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}' | '\u{200E}' | '\u{200F}'
        | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FDD0}'..='\u{FDEF}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}'
        | '\u{E0000}'..='\u{E007F}')
        || u32::from(c) & 0xFFFE == 0xFFFE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> String {
        let mut html = Html::default();
        html.text(text);
        html.finish()
    }

    #[test]
    fn markup_in_a_text_is_no_markup() {
        assert_eq!(
            text("<script>alert(1)</script> & \"x\" 'y'"),
            "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;x&quot; &#x27;y&#x27;"
        );
        let mut html = Html::default();
        html.empty("a", &[("title", "\"><script>")]);
        assert_eq!(html.finish(), "<a title=\"&quot;&gt;&lt;script&gt;\"></a>");
    }

    #[test]
    fn what_copy_would_escape_is_not_in_it() {
        assert_eq!(text("a\tb\nc\rd\\e"), "a&#x2409;b&#x240A;c&#x240D;d&#x5C;e");
    }

    #[test]
    fn it_is_ascii_and_what_cannot_be_seen_is_named() {
        assert_eq!(text("\u{0}\u{1B}\u{7F}\u{85}"), "&#x2400;&#x241B;&#x2421;[U+0085]");
        assert_eq!(text("a\u{202E}b\u{200F}\u{FFFF}"), "a[U+202E]b[U+200F][U+FFFF]");
        assert_eq!(text("日本 שלום 😀"), "&#x65E5;&#x672C; &#x5E9;&#x5DC;&#x5D5;&#x5DD; &#x1F600;");
    }

    #[test]
    fn every_character_comes_out_as_printable_ascii() {
        for c in '\0'..=char::MAX {
            let out = text(&c.to_string());
            assert!(out.bytes().all(|byte| (0x20..0x7F).contains(&byte) && byte != b'\\'), "{c:?}: {out}");
            assert!(!out.contains(['<', '>', '"', '\'']), "{c:?}: {out}");
        }
    }

    #[test]
    fn a_name_in_a_sentence_has_a_direction_of_its_own() {
        let mut html = Html::default();
        html.sentence(&format!("of {}: 7", show::name("a\u{2069}\u{2068}<b>")));
        html.sentence("x\u{2069}\u{2068}");
        assert_eq!(html.finish(), "of <bdi>a[U+2069][U+2068]&lt;b&gt;</bdi>: 7x[U+2069]<bdi></bdi>");
    }

    #[test]
    fn an_element_is_closed_unless_it_has_no_end() {
        let mut html = Html::default();
        html.element("p", &[("class", "x")], |html| {
            html.told("a");
            html.empty("br", &[]);
        });
        assert_eq!(html.finish(), "<p class=\"x\"><bdi>a</bdi><br></p>");
    }
}
