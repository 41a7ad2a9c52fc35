//! The one place that shows a finding to a person: reason, place, source line and caret, in the manner of rustc.

use std::fmt::Write as _;

use crate::diagnostic::Diagnostic;

/// Columns of source shown of one line; longer lines are cut around the caret.
const WIDTH_MAX: usize = 100;
const TAB: &str = "    ";

/// Renders a finding about `text`, which was read from `file`. Ends with a line break.
#[must_use]
pub fn render(diagnostic: &Diagnostic, file: &str, text: &str) -> String {
    let source = Excerpt::of(diagnostic, text);
    let number = diagnostic.line.to_string();
    let gutter = " ".repeat(number.len());
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(out, "{}: {}", diagnostic.severity, diagnostic.message);
    let _ = write!(out, "{gutter}--> {file}:{}:{}", diagnostic.line, diagnostic.column);
    let _ = match diagnostic.path.as_str() {
        "" => writeln!(out),
        path => writeln!(out, " ({path})"),
    };
    let _ = writeln!(out, "{gutter} |");
    let _ = writeln!(out, "{number} | {}", source.line);
    let _ =
        writeln!(out, "{gutter} | {}{}{}", " ".repeat(source.indent), "^".repeat(source.carets), source.more);
    if let Some(help) = &diagnostic.help {
        let _ = writeln!(out, "{gutter} = help: {help}");
    }
    out
}

/// The part of the source line that is shown, and where the caret goes below it.
struct Excerpt {
    line: String,
    indent: usize,
    carets: usize,
    /// Said after the carets where the span goes on in further lines.
    more: &'static str,
}

impl Excerpt {
    fn of(diagnostic: &Diagnostic, text: &str) -> Self {
        let start = floor_boundary(text, diagnostic.span.start);
        let end = floor_boundary(text, diagnostic.span.end.max(start));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let line = text[line_start..line_end].trim_end_matches('\r');
        let shown_end = end.min(line_start + line.len()).max(start.min(line_start + line.len()));
        let (before, rest) = line.split_at((start - line_start).min(line.len()));
        let (marked, after) = rest.split_at((shown_end - line_start).saturating_sub(before.len()));

        let (before, marked, after) = (shown(before), shown(marked), shown(after));
        let more = if text[start..end].trim_end().contains('\n') { "..." } else { "" };
        Self::cut(&before, &marked, &after, more)
    }

    /// Keeps what fits: the caret and what stands around it.
    fn cut(before: &[char], marked: &[char], after: &[char], more: &'static str) -> Self {
        let marked_kept = marked.len().min(WIDTH_MAX);
        let room = WIDTH_MAX - marked_kept;
        let before_kept = if before.len() + after.len() <= room {
            before.len()
        } else {
            before.len().min((room / 2).max(room.saturating_sub(after.len())))
        };
        let after_kept = after.len().min(room - before_kept);

        let mut line = String::new();
        let cut_front = before_kept < before.len();
        if cut_front {
            line.push_str("...");
        }
        line.extend(&before[before.len() - before_kept..]);
        line.extend(&marked[..marked_kept]);
        line.extend(&after[..after_kept]);
        if marked_kept < marked.len() || after_kept < after.len() {
            line.push_str("...");
        }
        let indent = before_kept + if cut_front { 3 } else { 0 };
        Self { line: line.trim_end().to_owned(), indent, carets: marked_kept.max(1), more }
    }
}

/// Source as it is shown: tabs have a width, and nothing may move the cursor or colour the terminal.
fn shown(source: &str) -> Vec<char> {
    let mut chars = Vec::with_capacity(source.len());
    for char in source.chars() {
        match char {
            '\t' => chars.extend(TAB.chars()),
            char if char.is_control() => chars.push('\u{fffd}'),
            char => chars.push(char),
        }
    }
    chars
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
