//! Splits zone-file text into entries (RFC 1035 section 5.1): comments, quotes and parentheses end here.
//!
//! Why not hickory's zone parser: it drops line numbers, opens `$INCLUDE` files by itself, stops at the first error and
//! ignores surplus fields, so that a record with a typing error is served in part instead of being refused.

/// One logical line: a directive or a record, possibly over several lines of text by parentheses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Line it starts at, from 1.
    pub(crate) line: usize,
    /// Whether it starts with white space, and so leaves out the owner.
    pub(crate) indented: bool,
    pub(crate) tokens: Vec<Token<'a>>,
}

/// A field, escapes still in place because names and character strings read them differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) quoted: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LexError {
    pub(crate) line: usize,
    pub(crate) reason: &'static str,
}

/// Most fields of one entry; a TXT record of 64 KiB has about 256.
const TOKENS_MAX: usize = 4096;

pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        // Editors on some systems put a byte order mark in front; it is not part of the first name.
        Self { text: text.strip_prefix('\u{feff}').unwrap_or(text), at: 0, line: 1 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_to_line_end(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
    }

    /// Reads one line (or group) of tokens. After an error the rest of the line has been skipped, so that later lines
    /// can still be checked.
    fn entry(&mut self) -> Result<Entry<'a>, LexError> {
        let mut entry = Entry {
            line: self.line,
            indented: matches!(self.peek(), Some(b' ' | b'\t')),
            tokens: Vec::new(),
        };
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                None if depth > 0 => return Err(self.fail(entry.line, "a parenthesis is not closed")),
                None => return Ok(entry),
                Some(b'\n') => {
                    self.at += 1;
                    self.line += 1;
                    if depth == 0 {
                        return Ok(entry);
                    }
                }
                Some(b' ' | b'\t' | b'\r') => self.at += 1,
                Some(b';') => self.skip_to_line_end(),
                Some(b'(') => {
                    self.at += 1;
                    depth += 1;
                }
                Some(b')') => {
                    self.at += 1;
                    match depth.checked_sub(1) {
                        Some(less) => depth = less,
                        None => {
                            return Err(self.fail(self.line, "a parenthesis is closed that was never opened"));
                        }
                    }
                }
                Some(_) if entry.tokens.len() == TOKENS_MAX => {
                    return Err(self.fail(entry.line, "a record has too many fields"));
                }
                Some(b'"') => entry.tokens.push(self.quoted()?),
                Some(_) => entry.tokens.push(self.plain()),
            }
        }
    }

    fn quoted(&mut self) -> Result<Token<'a>, LexError> {
        let start = self.at + 1;
        self.at = start;
        loop {
            match self.peek() {
                Some(b'"') => break,
                // An escape hides one byte; the line end is never hidden, or one stray quote would eat the file.
                Some(b'\\') if !matches!(self.text.as_bytes().get(self.at + 1), None | Some(b'\n')) => {
                    self.at += 2;
                }
                None | Some(b'\n') => return Err(self.fail(self.line, "a quote is not closed on its line")),
                Some(_) => self.at += 1,
            }
        }
        let text = &self.text[start..self.at];
        self.at += 1;
        Ok(Token { text, quoted: true })
    }

    fn plain(&mut self) -> Token<'a> {
        let start = self.at;
        while let Some(byte) = self.peek() {
            match byte {
                b'\\' if !matches!(self.text.as_bytes().get(self.at + 1), None | Some(b'\n')) => self.at += 2,
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' | b'"' => break,
                _ => self.at += 1,
            }
        }
        // Both ends stand at ASCII bytes or at the end of the text; an escape in front of a longer character leaves
        // only its continuation bytes, which are none of the delimiters.
        Token { text: self.text.get(start..self.at).unwrap_or_default(), quoted: false }
    }

    fn fail(&mut self, line: usize, reason: &'static str) -> LexError {
        self.skip_to_line_end();
        LexError { line, reason }
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Result<Entry<'a>, LexError>;

    /// The next entry that is not blank.
    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.text.len() {
            match self.entry() {
                Ok(entry) if entry.tokens.is_empty() => {}
                other => return Some(other),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Words = (usize, bool, Vec<String>);

    fn words(text: &str) -> Vec<Result<Words, LexError>> {
        Lexer::new(text)
            .map(|entry| {
                entry.map(|entry| {
                    (
                        entry.line,
                        entry.indented,
                        entry.tokens.iter().map(|token| token.text.to_owned()).collect(),
                    )
                })
            })
            .collect()
    }

    #[test]
    fn groups_comments_and_quotes() {
        let got = words("a ( b ; one\n c ) d\n\n ; only a comment\n x \"y ; (z\" \\;w");
        let want = |line, indented, words: &[&str]| {
            Ok((line, indented, words.iter().map(ToString::to_string).collect::<Vec<_>>()))
        };
        assert_eq!(got, [want(1, false, &["a", "b", "c", "d"]), want(5, true, &["x", "y ; (z", "\\;w"])]);
    }

    #[test]
    fn an_error_costs_one_line() {
        let got = words("a \"b\nc d\ne )\nf (\n");
        assert_eq!(got[0], Err(LexError { line: 1, reason: "a quote is not closed on its line" }));
        assert!(
            got.iter().any(|entry| matches!(entry, Ok((2, false, words)) if words == &["c", "d"])),
            "{got:?}"
        );
        assert_eq!(got.last(), Some(&Err(LexError { line: 4, reason: "a parenthesis is not closed" })));
    }
}
