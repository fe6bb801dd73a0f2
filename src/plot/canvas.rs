//! SVG text: shapes in pixels, escaped text, and guesses of how wide text comes out.

/// Colours of everything that is not data.
pub(super) const INK: &str = "#24292f";
pub(super) const FAINT: &str = "#57606a";
pub(super) const GRID: &str = "#d8dee4";

/// Where text stands relative to its point.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture under way.
pub(super) struct Canvas {
    body: String,
}

impl Canvas {
    pub(super) fn new() -> Self {
        Self { body: String::new() }
    }

    pub(super) fn add(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), style: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.add(&format!(r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" {style}/>"#));
    }

    /// Text on its base line, turned anticlockwise about `at` by `turn` degrees.
    pub(super) fn text(&mut self, at: (f64, f64), size: f64, anchor: Anchor, color: &str, turn: f64, text: &str) {
        let (x, y) = at;
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => r#" text-anchor="middle""#,
            Anchor::End => r#" text-anchor="end""#,
        };
        let turn = if turn == 0.0 { String::new() } else { format!(r#" transform="rotate({} {x:.1} {y:.1})""#, -turn) };
        let text = escape(text);
        self.add(&format!(
            r#"<text x="{x:.1}" y="{y:.1}" font-size="{size:.1}" fill="{color}"{anchor}{turn}>{text}</text>"#
        ));
    }

    /// The whole picture, `width` by `height` pixels, on white.
    pub(super) fn finish(self, width: f64, height: f64, title: &str) -> String {
        format!(
            concat!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" "#,
                r#"viewBox="0 0 {width:.0} {height:.0}" role="img" font-family="sans-serif">"#,
                "\n<title>{title}</title>\n",
                r##"<rect width="100%" height="100%" fill="#ffffff"/>"##,
                "\n{body}</svg>\n"
            ),
            width = width,
            height = height,
            title = escape(title),
            body = self.body
        )
    }
}

/// Text that XML reads as itself; characters that XML forbids are replaced.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// About how wide text is, in pixels: which font draws it is not known here.
pub(super) fn width(text: &str, size: f64) -> f64 {
    // Beyond Latin, Greek and Cyrillic a character may be as wide as it is high.
    text.chars().map(|character| if character < '\u{1100}' { 0.58 } else { 1.0 } * size).sum()
}

/// The widest of some texts.
pub(super) fn widest<'a>(texts: impl Iterator<Item = &'a str>, size: f64) -> f64 {
    texts.map(|text| width(text, size)).fold(0.0, f64::max)
}

/// Text cut to at most `most` pixels, with an ellipsis in the middle: names often differ at their ends.
pub(super) fn shorten(text: &str, size: f64, most: f64) -> String {
    if width(text, size) <= most {
        return text.into();
    }
    let half = (most - size) / 2.0;
    let take = |characters: &mut dyn Iterator<Item = char>| -> Vec<char> {
        let mut used = 0.0;
        let fits = |character: &char| {
            used += width(character.encode_utf8(&mut [0; 4]), size);
            used <= half
        };
        characters.take_while(fits).collect()
    };
    let (start, end) = (take(&mut text.chars()), take(&mut text.chars().rev()));
    start.into_iter().chain(['…']).chain(end.into_iter().rev()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_the_picture() {
        assert_eq!(escape("<a href=\"x\">&\u{0}\n"), "&lt;a href=&quot;x&quot;&gt;&amp;\u{fffd} ");
    }

    #[test]
    fn long_text_is_cut_in_the_middle() {
        assert_eq!(shorten("short", 10.0, 100.0), "short");
        let cut = shorten(&format!("a{}z", "é".repeat(300)), 10.0, 100.0);
        assert!(cut.starts_with("aé") && cut.contains('…') && cut.ends_with("éz"), "{cut}");
        assert!((80.0..=100.0).contains(&width(&cut, 10.0)), "{cut}");
        assert_eq!(shorten("much too long", 10.0, 1.0), "…");
    }
}
