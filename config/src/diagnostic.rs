//! What is wrong, or dangerous, and where.

use std::fmt;
use std::ops::Range;

use crate::render::render;
use crate::source::Place;

/// Characters shown of a message, a help or a path.
const SHOWN_CHARS_MAX: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, but a person should know.
    Warning,
}

/// One finding about a configuration text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// From one.
    pub line: usize,
    /// In characters, from one.
    pub column: usize,
    /// In bytes of the text; at most the text's length, on character boundaries.
    pub span: Range<usize>,
    /// The key concerned, as `service.web.check.fall`; empty for the whole file.
    pub path: String,
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Every error of one configuration text, in the order of the text, at least one.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    file: String,
    text: String,
    errors: Vec<Diagnostic>,
}

impl Diagnostic {
    /// A warning about what is named at `place`, for what only its files can tell.
    #[must_use]
    pub fn warning(place: &Place, message: &str, help: &str) -> Self {
        Self::new(Severity::Warning, place, message, Some(help))
    }

    pub(crate) fn new(severity: Severity, place: &Place, message: &str, help: Option<&str>) -> Self {
        // Where nothing is written there is still a first line to point at.
        let (line, column) = (place.line.max(1), place.column.max(1));
        let (message, help) = (printable(message), help.map(printable));
        Self { severity, line, column, span: place.span.clone(), path: printable(&place.path), message, help }
    }
}

impl Diagnostics {
    pub(crate) fn new(file: &str, text: &str, errors: Vec<Diagnostic>) -> Self {
        Self { file: file.to_owned(), text: text.to_owned(), errors }
    }

    #[must_use]
    pub fn errors(&self) -> &[Diagnostic] {
        &self.errors
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.errors {
            writeln!(f, "{}", render(diagnostic, &self.file, &self.text))?;
        }
        let count = self.errors.len();
        write!(f, "{}: {count} error{}", self.file, if count == 1 { "" } else { "s" })
    }
}

impl std::error::Error for Diagnostics {}

/// What is quoted from the text may be long, or meant for a terminal.
fn printable(text: &str) -> String {
    let shown = |char: char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char };
    let mut out: String = text.chars().take(SHOWN_CHARS_MAX).map(shown).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        out.push_str("...");
    }
    out
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}
