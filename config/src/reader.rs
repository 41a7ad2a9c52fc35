//! Typed reading of a spanned TOML tree.
//!
//! serde stops at its first error; a person who edits a file wants all of them. Every method here records what is
//! wrong where it is written, returns `None`, and lets the reading go on.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::domain::WantedValue;
use crate::duration::{format_duration, parse_duration};
use crate::hint::{alternatives, did_you_mean};
use crate::source::{At, Place, Source};

/// One value and where it is written.
#[derive(Clone)]
pub(crate) struct Field<'c> {
    pub(crate) source: &'c Source<'c>,
    pub(crate) place: Place,
    value: &'c DeValue<'c>,
}

/// A table whose keys are known; made by [`Field::table`].
pub(crate) struct Table<'c> {
    pub(crate) source: &'c Source<'c>,
    pub(crate) place: Place,
    table: &'c DeTable<'c>,
}

/// Named things in the order of the text.
pub(crate) type Named<T> = Vec<(At<String>, T)>;

/// Whether a key must be there, and whether it does anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Required,
    Optional,
    /// Read and checked, but without effect in this version.
    Pending,
}

/// One key of a table, as the reference shows it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    pub usage: Use,
    /// Lines of Markdown.
    pub about: &'static [&'static str],
}

impl<'c> Field<'c> {
    /// The whole document.
    pub(crate) fn root(source: &'c Source<'c>, value: &'c DeValue<'c>) -> Self {
        Self { source, place: source.place(0..0, String::new()), value }
    }

    pub(crate) fn error(&self, message: impl AsRef<str>) {
        self.source.error(&self.place, message);
    }

    pub(crate) fn error_help(&self, message: impl AsRef<str>, help: impl AsRef<str>) {
        self.source.error_help(&self.place, message, help);
    }

    pub(crate) fn at<T>(&self, value: T) -> At<T> {
        At { value, place: self.place.clone() }
    }

    pub(crate) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    pub(crate) fn is_list(&self) -> bool {
        self.value.is_array()
    }

    pub(crate) fn is_string(&self) -> bool {
        self.value.is_str()
    }

    pub(crate) fn is_integer(&self) -> bool {
        self.value.is_integer()
    }

    pub(crate) fn string(&self) -> Option<&'c str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.wrong_type("a string");
        }
        text
    }

    /// A string that says something.
    pub(crate) fn text(&self) -> Option<String> {
        let text = self.string()?;
        if text.trim().is_empty() {
            self.error("must not be empty");
            return None;
        }
        Some(text.to_owned())
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        let value = self.value.as_bool();
        if value.is_none() {
            self.wrong_type("`true` or `false`");
        }
        value
    }

    pub(crate) fn integer(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let Some(integer) = self.value.as_integer() else {
            self.wrong_type("a whole number");
            return None;
        };
        let value = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
        match value.and_then(|value| u64::try_from(value).ok()) {
            Some(value) if bounds.contains(&value) => Some(value),
            _ => {
                self.error(format!("{integer} is outside {}..={}", bounds.start(), bounds.end()));
                None
            }
        }
    }

    /// A number that is one: neither infinite nor none at all.
    pub(crate) fn number(&self) -> Option<f64> {
        let integer =
            || self.value.as_integer().and_then(|it| i64::from_str_radix(it.as_str(), it.radix()).ok());
        let number = match self.value.as_float() {
            Some(float) => float.as_str().parse::<f64>().ok(),
            None => integer().map(|integer| integer as f64),
        };
        let number = number.filter(|number| number.is_finite());
        if number.is_none() {
            self.wrong_type("a number");
        }
        number
    }

    /// A text, a number, `true` or `false`.
    pub(crate) fn wanted(&self) -> Option<WantedValue> {
        if let Some(text) = self.value.as_str() {
            return Some(WantedValue::Word(text.to_owned()));
        }
        if let Some(value) = self.value.as_bool() {
            return Some(WantedValue::Word(value.to_string()));
        }
        self.number().map(WantedValue::Number)
    }

    pub(crate) fn duration(&self, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        if self.value.is_integer() || self.value.is_float() {
            let help = "write a string with a unit: \"250ms\", \"10s\", \"1m30s\"";
            self.error_help("a duration needs a unit", help);
            return None;
        }
        let Some(text) = self.value.as_str() else {
            self.wrong_type("a duration such as \"10s\"");
            return None;
        };
        match parse_duration(text) {
            Ok(duration) if bounds.contains(&duration) => Some(duration),
            Ok(duration) => {
                let (least, most) = (format_duration(*bounds.start()), format_duration(*bounds.end()));
                self.error(format!("{} is outside {least}..={most}", format_duration(duration)));
                None
            }
            Err(error) => {
                let help =
                    "whole numbers with d, h, m, s or ms, the largest unit first: \"250ms\", \"1m30s\"";
                self.error_help(error.to_string(), help);
                None
            }
        }
    }

    /// A duration of whole seconds, as DNS counts.
    pub(crate) fn seconds(&self, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        let duration = self.duration(bounds)?;
        if duration.subsec_nanos() != 0 {
            self.error(format!("{} is not a whole number of seconds", format_duration(duration)));
            return None;
        }
        Some(duration)
    }

    /// One word of several.
    pub(crate) fn one_of<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<_> = choices.iter().map(|&(word, _)| word).collect();
        let Some(text) = self.value.as_str() else {
            self.wrong_type(&alternatives(&words));
            return None;
        };
        let choice = choices.iter().find(|&&(word, _)| word == text);
        if choice.is_none() {
            let message = format!("`{text}` is not one of {}", alternatives(&words));
            self.source.error_hint(&self.place, message, did_you_mean(text, &words).as_deref());
        }
        choice.map(|&(_, value)| value)
    }

    /// The elements that could be read.
    pub(crate) fn list<T>(&self, read: impl Fn(&Self) -> Option<T>) -> Option<Vec<At<T>>> {
        let Some(array) = self.value.as_array() else {
            let help = self.value.as_str().map(|text| format!("put it in brackets: [{text:?}]"));
            let message = format!("expected a list, found {}", self.found());
            self.source.error_hint(&self.place, message, help.as_deref());
            return None;
        };
        if array.len() > LIST_MAX {
            self.error(format!("a list has at most {LIST_MAX} elements"));
            return None;
        }
        let elements = array.iter().enumerate().map(|(i, value)| {
            let place = self.source.place(value.span(), format!("{}[{i}]", self.place.path));
            Self { source: self.source, place, value: value.get_ref() }
        });
        Some(elements.filter_map(|field| read(&field).map(|value| field.at(value))).collect())
    }

    /// A table whose keys are names, in the order of the text. What could not be read is there with its default, so
    /// that it does not count as unknown where it is named.
    pub(crate) fn named<T: Default>(&self, read: impl Fn(&Self) -> Option<T>) -> Option<Named<T>> {
        let table = self.table()?;
        let mut entries: Vec<_> = table.table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let named = entries.into_iter().map(|(key, value)| {
            let path = join(&self.place.path, key.get_ref());
            let field = table.field(path.clone(), value);
            let name = At { value: key.get_ref().to_string(), place: self.source.place(key.span(), path) };
            (name, read(&field).unwrap_or_default())
        });
        Some(named.collect())
    }

    pub(crate) fn table(&self) -> Option<Table<'c>> {
        let Some(table) = self.value.as_table() else {
            self.wrong_type("a table");
            return None;
        };
        Some(Table { source: self.source, place: self.place.clone(), table })
    }

    /// Refuses a string where a table is expected, and shows how to write it as the key that it must have been meant for.
    pub(crate) fn deny_text_for_table(&self, key: &str) -> Option<()> {
        let Some(text) = self.value.as_str() else { return Some(()) };
        self.error_help(
            format!("expected a table, found {}", self.found()),
            format!("write {{ {key} = {text:?} }}"),
        );
        None
    }

    pub(crate) fn wrong_type(&self, expected: &str) {
        self.error(format!("expected {expected}, found {}", self.found()));
    }

    fn found(&self) -> String {
        match self.value {
            DeValue::Boolean(value) => format!("`{value}`"),
            DeValue::Integer(value) => format!("the number {value}"),
            DeValue::Float(value) => format!("the number {value}"),
            DeValue::String(value) if value.chars().count() <= 40 => format!("the string {value:?}"),
            DeValue::String(_) => "a string".to_owned(),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }
}

impl<'c> Table<'c> {
    /// Reports every key that is not known.
    pub(crate) fn deny_unknown(&self, known: &[Key]) {
        let mut unknown: Vec<_> =
            self.table.keys().filter(|key| known.iter().all(|known| known.name != key.get_ref())).collect();
        unknown.sort_by_key(|key| key.span().start);
        for key in unknown {
            let name = key.get_ref();
            let place = self.source.place(key.span(), join(&self.place.path, name));
            let names: Vec<_> = known.iter().map(|key| key.name).collect();
            let list = || (names.len() <= 12).then(|| format!("known here: {}", names.join(", ")));
            let help = did_you_mean(name, &names).or_else(list);
            self.source.error_hint(&place, format!("unknown key `{name}`"), help.as_deref());
        }
    }

    /// Reads one key.
    pub(crate) fn take<T>(
        &self,
        name: &str,
        usage: Use,
        read: impl Fn(&Field<'c>) -> Option<T>,
    ) -> Option<At<T>> {
        let Some((key, value)) = self.table.get_key_value(name) else {
            if usage == Use::Required {
                self.source.error(&self.place, format!("`{name}` is missing"));
            }
            return None;
        };
        let path = join(&self.place.path, name);
        if usage == Use::Pending {
            let place = self.source.place(key.span(), path.clone());
            self.source.warn(&place, format!("`{name}` has no effect yet"));
        }
        let field = self.field(path, value);
        read(&field).map(|value| field.at(value))
    }

    fn field(&self, path: String, value: &'c Spanned<DeValue<'c>>) -> Field<'c> {
        Field { source: self.source, place: self.source.place(value.span(), path), value: value.get_ref() }
    }
}

/// The path of a key in a table, quoted where TOML would want it quoted.
pub(crate) fn join(path: &str, key: &str) -> String {
    let bare =
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// Reads the tree of a text; where the text is no TOML, that is recorded.
pub(crate) fn tree<'c>(source: &Source<'c>, text: &'c str) -> DeValue<'c> {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut line_before = 0;
    for error in errors.iter().take(SYNTAX_ERRORS_MAX) {
        let place = source.place(error.span().unwrap_or(text.len()..text.len()), String::new());
        // What follows on the same line is mostly a consequence of the first.
        if place.line != line_before {
            source.error(&place, error.message());
        }
        line_before = place.line;
    }
    DeValue::Table(root.into_inner())
}

/// Elements of one list; more are a mistake, not a configuration.
const LIST_MAX: usize = 10_000;

/// More than these are noise of one cause.
const SYNTAX_ERRORS_MAX: usize = 20;
