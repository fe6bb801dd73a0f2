//! Patterns over the dot-separated segments of a key or path: `*` is one segment, `**` any number of them.

/// A pattern, split at its dots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<String>);

/// How narrow a pattern is: its length, then which segments are literal, the leading ones first. The greater wins.
pub(super) type Specificity = (usize, Vec<bool>);

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        Self(text.split('.').map(str::to_string).collect())
    }

    pub(super) fn segments(&self) -> &[String] {
        &self.0
    }

    pub(super) fn stars(&self) -> usize {
        self.0.iter().filter(|part| *part == "*").count()
    }

    pub(super) fn specificity(&self) -> Specificity {
        (self.0.len(), self.0.iter().map(|part| part != "*").collect())
    }

    /// Matches the leading segments; gives what each `*` stood for, and the segments left over.
    pub(super) fn match_start<'a>(&self, text: &'a str) -> Option<(Vec<&'a str>, Vec<&'a str>)> {
        let mut parts = text.split('.');
        let mut captured = Vec::new();
        for wanted in &self.0 {
            let part = parts.next()?;
            if wanted == "*" {
                captured.push(part);
            } else if wanted != part {
                return None;
            }
        }
        Some((captured, parts.collect()))
    }

    /// Puts what was captured in place of each `*`, and the rest behind.
    pub(super) fn fill(&self, captured: &[&str], rest: &[&str]) -> String {
        let mut captured = captured.iter().copied();
        let start = self.0.iter().map(|part| if part == "*" { captured.next().unwrap_or("*") } else { part });
        start.chain(rest.iter().copied()).collect::<Vec<_>>().join(".")
    }

    /// Matches the whole text, where `**` stands for any number of segments.
    pub(super) fn matches(&self, text: &str) -> bool {
        let parts: Vec<_> = text.split('.').collect();
        glob(&self.0, &parts)
    }

    /// Whether some text has both patterns, without `**`, as its whole.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let meets = |(a, b): (&String, &String)| a == "*" || b == "*" || a == b;
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(meets)
    }
}

fn glob(pattern: &[String], parts: &[&str]) -> bool {
    match (pattern.split_first(), parts.split_first()) {
        (None, None) => true,
        (Some((any, rest)), _) if any == "**" => (0..=parts.len()).any(|skipped| glob(rest, &parts[skipped..])),
        (Some((wanted, pattern)), Some((part, parts))) => (wanted == "*" || wanted == part) && glob(pattern, parts),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_whole_segments() {
        let pattern = Pattern::new("layer.1");
        assert!(pattern.match_start("layer.1.weight").is_some());
        assert!(pattern.match_start("layer.10.weight").is_none());
        assert!(pattern.match_start("layer").is_none());
        let (captured, rest) = Pattern::new("a.*.c.*").match_start("a.7.c.8.x.y").expect("matches");
        assert_eq!((captured, rest), (vec!["7", "8"], vec!["x", "y"]));
    }

    #[test]
    fn filling_undoes_matching() {
        let pattern = Pattern::new("a.*.c");
        let (captured, rest) = pattern.match_start("a.7.c.weight").expect("matches");
        assert_eq!(pattern.fill(&captured, &rest), "a.7.c.weight");
    }

    #[test]
    fn double_stars_span_segments() {
        let ids = Pattern::new("**.position_ids");
        for key in ["position_ids", "embeddings.position_ids", "bert.embeddings.position_ids"] {
            assert!(ids.matches(key), "{key}");
        }
        for key in ["bert.position_ids.weight", "bert.my_position_ids", ""] {
            assert!(!ids.matches(key), "{key}");
        }
        assert!(Pattern::new("a.**.z").matches("a.z"));
        assert!(!Pattern::new("a.*.z").matches("a.z"));
    }
}
