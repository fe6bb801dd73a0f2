use crate::nearest::nearest;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// A pattern over parameter paths, matched segment by segment from the start.
///
/// | pattern | matches |
/// |---|---|
/// | `backbone.encoder.layer.1` | that module and all inside it, not `layer.10` |
/// | `*` | one segment; `norm*`, `*bias` parts of one |
/// | `**` | any number of segments |
/// | `{0..3}`, `{0..=3}` | a number in the range, as in Rust |
/// | `{query,value}` | either |
///
/// ```
/// use rekindle::params::Selector;
/// let low: Selector = "backbone.encoder.layer.{0..3}.**".parse()?;
/// assert!(low.matches("backbone.encoder.layer.2.output.weight"));
/// assert!(!low.matches("backbone.encoder.layer.10.output.weight"));
/// # Ok::<(), rekindle::params::SelectorError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector {
    text: String,
    segments: Vec<Segment>,
}

/// Why a selector cannot be used.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum SelectorError {
    /// It cannot be read.
    #[error("selector `{selector}`: {reason}")]
    Syntax {
        /// The pattern.
        selector: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It matches nothing.
    #[error("selector `{selector}` matches no parameter; the nearest path is `{nearest}`")]
    NoMatch {
        /// The pattern.
        selector: String,
        /// The most similar path of the model.
        nearest: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Segment {
    AnyNumber,
    /// Alternatives of one segment, each with `*` for any run of characters.
    OneOf(Vec<String>),
    Range(u64, u64),
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let wrap = |reason: String| SelectorError::Syntax { selector: text.into(), reason };
        let segments = split(text).map_err(wrap)?.into_iter().map(segment).collect::<Result<_, _>>().map_err(wrap)?;
        Ok(Self { text: text.into(), segments })
    }
}

impl TryFrom<String> for Selector {
    type Error = SelectorError;
    fn try_from(text: String) -> Result<Self, SelectorError> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> String {
        selector.text
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Selector {
    /// Whether it selects the parameter at `path`, by matching the path or one of the modules around it.
    pub fn matches(&self, path: &str) -> bool {
        matches(&self.segments, &path.split('.').collect::<Vec<_>>())
    }

    /// Which of `paths` it selects.
    ///
    /// # Errors
    /// [`SelectorError::NoMatch`] if none.
    pub fn select<'a>(&self, paths: impl Iterator<Item = &'a str> + Clone) -> Result<Vec<bool>, SelectorError> {
        let chosen: Vec<bool> = paths.clone().map(|path| self.matches(path)).collect();
        match chosen.contains(&true) {
            true => Ok(chosen),
            false => Err(SelectorError::NoMatch { selector: self.text.clone(), nearest: self.nearest(paths) }),
        }
    }

    /// The path most like the pattern, cut to as many segments as the pattern has.
    fn nearest<'a>(&self, paths: impl Iterator<Item = &'a str>) -> String {
        let depth = self.segments.len();
        let modules = paths.flat_map(|path| {
            let short = path.match_indices('.').nth(depth - 1).map_or(path, |(end, _)| &path[..end]);
            [path, short]
        });
        nearest(&self.text, modules).unwrap_or("(the model has no parameter)").into()
    }
}

/// Splits at dots outside of braces.
fn split(text: &str) -> Result<Vec<String>, String> {
    let (mut segments, mut current, mut inside) = (vec![], String::new(), false);
    for character in text.chars() {
        match (character, inside) {
            ('{', true) => return Err("`{` inside `{`".into()),
            ('}', false) => return Err("`}` without `{`".into()),
            ('.', false) => segments.push(std::mem::take(&mut current)),
            _ => {
                inside = character == '{' || inside && character != '}';
                current.push(character);
            }
        }
    }
    segments.push(current);
    match (inside, segments.iter().any(String::is_empty)) {
        (true, _) => Err("`{` is not closed".into()),
        (_, true) => Err("a segment is empty".into()),
        _ => Ok(segments),
    }
}

fn segment(text: String) -> Result<Segment, String> {
    if text == "**" {
        return Ok(Segment::AnyNumber);
    }
    if text.contains("**") {
        return Err(format!("`**` must stand alone, not in `{text}`"));
    }
    let Some((before, rest)) = text.split_once('{') else { return Ok(Segment::OneOf(vec![text])) };
    let (inner, after) = rest.split_once('}').unwrap_or((rest, ""));
    if after.contains('{') {
        return Err(format!("more than one `{{}}` in `{text}`"));
    }
    if let Some(range) = range(inner)? {
        return match before.is_empty() && after.is_empty() {
            true => Ok(range),
            false => Err(format!("the range in `{text}` must be a whole segment")),
        };
    }
    Ok(Segment::OneOf(inner.split(',').map(|choice| format!("{before}{}{after}", choice.trim())).collect()))
}

/// `0..3` or `0..=3`; `None` where there are no dots.
fn range(inner: &str) -> Result<Option<Segment>, String> {
    let Some((low, high)) = inner.split_once("..") else { return Ok(None) };
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| format!("`{inner}` is not a range of numbers"));
    let (low, end) = match high.strip_prefix('=') {
        Some(high) => (number(low)?, number(high)?.saturating_add(1)),
        None => (number(low)?, number(high)?),
    };
    match low < end {
        true => Ok(Some(Segment::Range(low, end))),
        false => Err(format!("the range `{inner}` is empty")),
    }
}

/// A pattern that ends before the path does has matched a module: everything inside is selected.
fn matches(pattern: &[Segment], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, _) => true,
        (Some((Segment::AnyNumber, [])), _) => true,
        (Some((Segment::AnyNumber, rest)), _) => (0..path.len()).any(|skip| matches(rest, &path[skip..])),
        (Some(_), None) => false,
        (Some((segment, rest)), Some((first, path))) => segment.matches(first) && matches(rest, path),
    }
}

impl Segment {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::AnyNumber => true,
            Self::OneOf(choices) => choices.iter().any(|choice| wildcard(choice.as_bytes(), text.as_bytes())),
            Self::Range(low, end) => text.parse::<u64>().is_ok_and(|number| (*low..*end).contains(&number)),
        }
    }
}

fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skip| wildcard(rest, &text[skip..])),
        Some((first, rest)) => text.split_first().is_some_and(|(head, tail)| head == first && wildcard(rest, tail)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn selector(text: &str) -> Selector {
        text.parse().expect("a valid selector")
    }

    #[test]
    fn whole_segments_only() {
        let layer = selector("backbone.encoder.layer.1");
        assert!(layer.matches("backbone.encoder.layer.1.output.weight"));
        assert!(!layer.matches("backbone.encoder.layer.10.output.weight"));
        assert!(!selector("encoder").matches("backbone.encoder.layer.1.output.weight"));
    }

    #[test]
    fn wildcards_ranges_and_choices() {
        let path = "backbone.encoder.layer.2.attention.query.bias";
        for pattern in ["**.bias", "backbone.**.query.*", "**", "**.layer.{0..3}.**", "**.{query,value}.bias", "**.q*y"]
        {
            assert!(selector(pattern).matches(path), "{pattern}");
        }
        for pattern in ["**.weight", "backbone.*.query", "**.layer.{0..2}.**", "**.{key,value}.bias", "*.bias"] {
            assert!(!selector(pattern).matches(path), "{pattern}");
        }
        assert!(selector("**.layer.{0..=2}.**").matches(path));
    }

    #[test]
    fn bad_patterns_are_errors() {
        for pattern in ["", "a..b", "a.{b", "a.b}", "a.{3..1}", "a.{x..3}", "a.b**", "a.n{0..2}", "{a}{b}"] {
            assert!(pattern.parse::<Selector>().is_err(), "{pattern}");
        }
    }

    #[test]
    fn nothing_matched_names_the_nearest_path() {
        let paths = ["backbone.encoder.layer.0.output.weight", "backbone.encoder.layer.0.output.bias"];
        let error = selector("backbone.encoder.layers.0").select(paths.into_iter()).unwrap_err();
        assert_eq!(
            error,
            SelectorError::NoMatch {
                selector: "backbone.encoder.layers.0".into(),
                nearest: "backbone.encoder.layer.0".into()
            }
        );
    }

    proptest! {
        #[test]
        fn never_panics(pattern in ".{0,24}", path in "[a-z0-9.]{0,24}") {
            if let Ok(selector) = pattern.parse::<Selector>() {
                selector.matches(&path);
            }
        }

        #[test]
        fn a_literal_path_selects_itself(path in "[a-z]{1,4}(\\.[a-z0-9]{1,3}){0,4}") {
            prop_assert!(selector(&path).matches(&path));
        }
    }
}
