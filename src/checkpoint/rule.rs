//! One line of a key map.

use super::error::CheckpointError;
use super::pattern::Pattern;

/// First segment of the paths of heads. A key may belong to several of them: which one, the model decides.
const HEAD: &str = "head";

/// Leading segments of a path and those of a key.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) path: Pattern,
    pub(super) key: Pattern,
    /// What a module must lack; `None` where it may have anything.
    without: Option<Pattern>,
    /// Whether it holds for the module at hand.
    pub(super) holds: bool,
    text: String,
}

impl Rule {
    pub(super) fn new(path: &str, key: &str) -> Self {
        let text = format!("{path} -> {key}");
        Self { path: Pattern::new(path), key: Pattern::new(key), without: None, holds: true, text }
    }

    /// A rule for modules with nothing at `absent`. It does not hold before [`decide`](Self::decide).
    pub(super) fn without(absent: &str, path: &str, key: &str) -> Self {
        let text = format!("{path} -> {key} without {absent}");
        Self {
            path: Pattern::new(path),
            key: Pattern::new(key),
            without: Some(Pattern::new(absent)),
            holds: false,
            text,
        }
    }

    /// Settles whether it holds, for a module of which `has` says whether there is something at a pattern.
    pub(super) fn decide(&mut self, has: impl Fn(&Pattern) -> bool) {
        self.holds = self.without.as_ref().is_none_or(|absent| !has(absent));
    }

    pub(super) fn check(&self) -> Result<(), CheckpointError> {
        let segments = || self.path.segments().iter().chain(self.key.segments());
        if self.path.stars() != self.key.stars() {
            return Err(self.bad("both sides need the same number of `*`"));
        }
        if segments().any(|part| part.is_empty() || part == "**") {
            return Err(self.bad("each segment needs a name or `*`; `**` and empty segments are not for rules"));
        }
        Ok(())
    }

    pub(super) fn check_against(&self, other: &Self) -> Result<(), CheckpointError> {
        if self.path == other.path && self.is_conditional() == other.is_conditional() {
            return Err(self.bad(&format!("the same path has the rule `{}`; keep one", other.text)));
        }
        let alternatives = self.is_head() && other.is_head();
        if self.key.overlaps(&other.key) && !alternatives {
            return Err(self.bad(&format!("the rule `{}` can give the same key; make the keys differ", other.text)));
        }
        Ok(())
    }

    /// Whether it waits for a module.
    pub(super) fn is_conditional(&self) -> bool {
        self.without.is_some()
    }

    fn is_head(&self) -> bool {
        self.path.segments()[0] == HEAD
    }

    fn bad(&self, reason: &str) -> CheckpointError {
        CheckpointError::BadRule { rule: self.text.clone(), reason: reason.into() }
    }
}
