//! What is wrong, or dangerous, and where.

use std::fmt;
use std::ops::Range;

use crate::render::render;

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

/// Every error of one configuration text, in the order of the text, at least one, and the warnings found on the way.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    file: String,
    text: String,
    found: Vec<Diagnostic>,
}

impl Diagnostics {
    pub(crate) fn new(file: &str, text: &str, found: Vec<Diagnostic>) -> Self {
        Self { file: file.to_owned(), text: text.to_owned(), found }
    }

    /// Errors and warnings, in the order of the text.
    #[must_use]
    pub fn all(&self) -> &[Diagnostic] {
        &self.found
    }

    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.found.iter().filter(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.found {
            writeln!(f, "{}", render(diagnostic, &self.file, &self.text))?;
        }
        let errors = self.errors().count();
        let plural = if errors == 1 { "" } else { "s" };
        write!(f, "{}: {errors} error{plural}", self.file)
    }
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}
