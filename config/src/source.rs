//! The text, its places, and what was found about it so far.
//!
//! Reading goes on after an error so that a person sees all of them at once; so findings are collected here
//! instead of being returned.

use std::cell::RefCell;
use std::ops::Range;

use crate::diagnostic::{Diagnostic, Severity};

/// Where something is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// From one; zero for what is written nowhere.
    pub line: usize,
    /// In characters, from one.
    pub column: usize,
    /// In bytes of the text.
    pub span: Range<usize>,
    /// The key, as `service.web.check.fall`.
    pub path: String,
}

/// A value and where it is written.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

pub(crate) struct Source<'t> {
    text: &'t str,
    /// Byte offsets, the first is zero.
    line_starts: Vec<usize>,
    found: RefCell<Vec<Diagnostic>>,
}

impl<'t> Source<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        let line_starts = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect();
        Self { text, line_starts, found: RefCell::default() }
    }

    pub(crate) fn place(&self, span: Range<usize>, path: String) -> Place {
        let start = self.floor_boundary(span.start);
        let end = self.floor_boundary(span.end.max(start));
        let line = self.line_starts.partition_point(|&line_start| line_start <= start);
        let line_start = self.line_starts[line - 1];
        let column = self.text[line_start..start].chars().count() + 1;
        Place { line, column, span: start..end, path }
    }

    pub(crate) fn error(&self, place: &Place, message: impl AsRef<str>) {
        self.report(Severity::Error, place, message.as_ref(), None);
    }

    pub(crate) fn error_help(&self, place: &Place, message: impl AsRef<str>, help: impl AsRef<str>) {
        self.report(Severity::Error, place, message.as_ref(), Some(help.as_ref()));
    }

    /// An error whose help is only known sometimes, as with a "did you mean".
    pub(crate) fn error_hint(&self, place: &Place, message: impl AsRef<str>, help: Option<&str>) {
        self.report(Severity::Error, place, message.as_ref(), help);
    }

    pub(crate) fn warn(&self, place: &Place, message: impl AsRef<str>) {
        self.report(Severity::Warning, place, message.as_ref(), None);
    }

    pub(crate) fn warn_help(&self, place: &Place, message: impl AsRef<str>, help: impl AsRef<str>) {
        self.report(Severity::Warning, place, message.as_ref(), Some(help.as_ref()));
    }

    pub(crate) fn failed(&self) -> bool {
        self.found.borrow().iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Whether there is an error at this key or below it.
    pub(crate) fn failed_below(&self, path: &str) -> bool {
        let is_below = |key: &str| {
            key.strip_prefix(path).is_some_and(|rest| matches!(rest.bytes().next(), None | Some(b'.' | b'[')))
        };
        self.found.borrow().iter().any(|found| found.severity == Severity::Error && is_below(&found.path))
    }

    /// Everything found of this severity, in the order of the text.
    pub(crate) fn into_found(self, severity: Severity) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.retain(|diagnostic| diagnostic.severity == severity);
        found.sort_by_key(|diagnostic| diagnostic.span.start);
        found
    }

    fn report(&self, severity: Severity, place: &Place, message: &str, help: Option<&str>) {
        self.found.borrow_mut().push(Diagnostic::new(severity, place, message, help));
    }

    fn floor_boundary(&self, at: usize) -> usize {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}
