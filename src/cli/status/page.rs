//! Lines of at most 80 columns: a label, then text that wraps under itself. Nothing that others wrote begins a line of its own.

use crate::logging::printable;

/// Columns of a line.
pub const WIDTH: usize = 80;
/// Columns of a label, and where the text behind it stands.
const LABEL: usize = 10;

/// How something is painted on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    Plain,
    Good,
    Warn,
    Bad,
}

impl Paint {
    fn around(self, text: &str) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "1;31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// A text of labelled lines.
pub struct Page {
    text: String,
    ascii: bool,
    color: bool,
}

impl Page {
    #[must_use]
    pub const fn new(ascii: bool, color: bool) -> Self {
        Self {
            text: String::new(),
            ascii,
            color,
        }
    }

    /// A label and a text that wraps.
    pub fn line(&mut self, label: &str, text: &str, paint: Paint) {
        let text = self.signs(text);
        let mut label = format!("{label:LABEL$}");
        let separator = if self.ascii { " | " } else { " · " };
        for line in wrap(&text, WIDTH - LABEL, separator) {
            self.text.push_str(&self.paint(&label, paint));
            self.text.push_str(&line);
            self.end();
            label = " ".repeat(LABEL);
        }
    }

    /// A line of a table under the labels, cut where it is too long.
    pub fn row(&mut self, text: &str, word: &str, paint: Paint, rest: &str) {
        let (text, rest) = (self.signs(text), self.signs(rest));
        let room = WIDTH.saturating_sub(width(&text) + width(word));
        self.text.push_str(&text);
        self.text.push_str(&self.paint(word, paint));
        self.text.push_str(&cut(&rest, room));
        self.end();
    }

    /// Text at both ends of a line; the painted word is the beginning of the left one.
    pub fn ends(&mut self, name: &str, word: &str, paint: Paint, left: &str, right: &str) {
        let (word, left, right) = (self.signs(word), self.signs(left), self.signs(right));
        let name = cut(&printable(name), 40);
        let used = width(&name) + 2 + width(&word) + width(&left) + width(&right);
        let gap = " ".repeat(WIDTH.saturating_sub(used).max(2));
        self.text.push_str(&format!(
            "{name}  {}{left}{gap}{right}",
            self.paint(&word, paint)
        ));
        self.end();
    }

    /// The first line: what it is about, its state, and when. `states` are the same in fewer and fewer words; the first one
    /// that fits is shown.
    pub fn headline(&mut self, name: &str, states: &[String], paint: Paint, right: &str) {
        const COLUMNS: usize = WIDTH - 1;
        const NAME: usize = 8;
        let right = self.signs(right);
        let states: Vec<String> = states.iter().map(|state| self.signs(state)).collect();
        // A long name gives way to the state; who reads it knows which migration he asked about.
        let least = states.last().map_or(0, |state| width(state));
        let besides = 2 + 1 + width(&right);
        let name = cut(
            &printable(name),
            COLUMNS.saturating_sub(least + besides).clamp(NAME, 40),
        );
        let room = COLUMNS.saturating_sub(width(&name) + besides);
        let fits = states.iter().find(|state| width(state) <= room);
        let state = fits.or(states.last()).cloned().unwrap_or_default();
        let state = cut(&state, room);
        let gap = " ".repeat(room + 1 - width(&state));
        let state = self.paint(&state, paint);
        self.text.push_str(&format!("{name}  {state}{gap}{right}"));
        self.end();
    }

    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }

    fn end(&mut self) {
        let end = self.text.trim_end_matches(' ').len();
        self.text.truncate(end);
        self.text.push('\n');
    }

    fn paint(&self, text: &str, paint: Paint) -> String {
        if self.color {
            paint.around(text)
        } else {
            text.to_owned()
        }
    }

    fn signs(&self, text: &str) -> String {
        let text = printable(text);
        if self.ascii { ascii(&text) } else { text }
    }
}

/// Signs in plain letters.
#[must_use]
pub fn ascii(text: &str) -> String {
    text.replace('·', "|")
        .replace('→', "->")
        .replace('…', "...")
        .replace('≠', "!=")
        .replace('✓', "ok")
        .replace('✗', "x")
}

/// Columns that a text takes, where every character takes one.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// At most so many columns.
#[must_use]
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
    format!("{kept}~")
}

/// Breaks between the parts of a text where it can, which stand whole where they fit; at spaces within a longer one.
fn wrap(text: &str, columns: usize, separator: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in text.split(separator) {
        if let Some(last) = lines.last_mut()
            && width(last) + width(separator) + width(part) <= columns
        {
            last.push_str(separator);
            last.push_str(part);
        } else {
            lines.extend(words(part, columns));
        }
    }
    lines
}

/// Breaks at spaces; a word longer than a line is broken where the line ends.
fn words(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        while word.len() > columns {
            let rest = word.split_off(columns);
            lines.push(word.into_iter().collect());
            word = rest;
        }
        let last = lines.last_mut().expect("never empty");
        let needed = width(last) + usize::from(!last.is_empty()) + word.len();
        if needed > columns {
            lines.push(word.into_iter().collect());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.extend(word);
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_wrap_under_themselves_and_long_words_break() {
        let mut page = Page::new(false, false);
        page.line(
            "LABEL",
            &format!("{} {}", "word ".repeat(20), "x".repeat(100)),
            Paint::Bad,
        );
        for line in page.finish().lines() {
            assert!(width(line) <= WIDTH, "{line}");
            assert!(
                line.starts_with("LABEL     ") || line.starts_with("          "),
                "{line}"
            );
        }
    }

    #[test]
    fn what_others_wrote_forges_no_line_and_paints_nothing() {
        let forged = "billing\nSTATE     steady\x1b[2J";
        let mut page = Page::new(false, false);
        page.line("BLOCKED", forged, Paint::Plain);
        page.row(forged, "", Paint::Plain, forged);
        page.ends(forged, "", Paint::Plain, "", forged);
        page.headline(forged, &[forged.to_owned()], Paint::Plain, forged);
        let text = page.finish();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(!text.contains('\x1b'), "{text:?}");
        assert!(text.contains(r"billing\nSTATE"), "{text}");
    }

    #[test]
    fn a_long_name_gives_way_to_the_state() {
        let mut page = Page::new(false, false);
        let states = ["CONSUMERS 50 % -> 0 % · FROZEN by inconsistency 2m".to_owned()];
        let right = "14:04:00Z epoch 44";
        page.headline("a-name-that-is-long", &states, Paint::Bad, right);
        let line = page.finish();
        assert!(
            line.contains(&states[0]) && line.trim_end().ends_with(right),
            "{line}"
        );
        assert_eq!(width(line.trim_end()), WIDTH - 1, "{line}");
    }

    #[test]
    fn colour_and_signs_are_only_where_they_are_asked_for() {
        let of = |ascii, color| {
            let mut page = Page::new(ascii, color);
            page.line("A", "1 · 2 → 3", Paint::Bad);
            page.finish()
        };
        assert_eq!(of(true, false), "A         1 | 2 -> 3\n");
        assert_eq!(of(false, true), "\x1b[1;31mA         \x1b[0m1 · 2 → 3\n");
    }
}
