//! From paths to keys and back.

use super::super::pattern::{Pattern, Specificity};
use super::{KeyMap, OtherPrefix};
use std::collections::BTreeSet;

impl KeyMap {
    /// The table for a module with these parameter paths: rules that wait for what is absent hold or do not, and a key is
    /// neither a copy nor ignored where the module has a parameter of its own for it (an output projection that is not tied).
    #[must_use]
    pub fn of_module<'a>(&self, paths: impl IntoIterator<Item = &'a str> + Clone) -> Self {
        let has = |part: &Pattern| paths.clone().into_iter().any(|path| part.match_start(path).is_some());
        let mut map = self.clone();
        for rule in &mut map.rules {
            rule.decide(has);
        }
        map.bare &= !map.prefixed.iter().any(has);
        if let Some(other) = &mut map.other_prefix {
            other.holds = has(&other.part);
        }
        let own: BTreeSet<_> = paths.clone().into_iter().filter_map(|path| map.to_file(path)).collect();
        map.tied.retain(|(copy, _)| !own.contains(copy));
        map.ignored.retain(|(pattern, _)| !own.iter().any(|key| pattern.matches(key)));
        map
    }

    /// The key of a parameter path; `None` when no rule covers it.
    pub fn to_file(&self, path: &str) -> Option<String> {
        let holding = self.rules.iter().filter(|rule| rule.holds);
        let matching = holding.filter_map(|rule| Some((rule, rule.path.match_start(path)?)));
        let (rule, (captured, rest)) =
            matching.max_by_key(|(rule, _)| (rule.path.specificity(), rule.is_conditional()))?;
        Some(rule.key.fill(&captured, &rest))
    }

    /// The key that a path gets in files that are written.
    pub fn to_written(&self, path: &str) -> Option<String> {
        Some(self.written(&self.to_file(path)?))
    }

    pub(super) fn written(&self, key: &str) -> String {
        let rest = || key.strip_prefix(&self.base_prefix).and_then(|rest| rest.strip_prefix('.'));
        match (&self.other_prefix, rest()) {
            (_, Some(rest)) if self.bare => rest.into(),
            (Some(OtherPrefix { prefix, holds: true, .. }), Some(rest)) => format!("{prefix}.{rest}"),
            _ => key.into(),
        }
    }

    /// Whether the path has this key in some module.
    fn can_give(&self, path: &str, key: &str) -> bool {
        let matching: Vec<_> =
            self.rules.iter().filter_map(|rule| Some((rule, rule.path.match_start(path)?))).collect();
        let narrowest = matching.iter().map(|(rule, _)| rule.path.specificity()).max();
        let narrow = matching.iter().filter(|(rule, _)| Some(rule.path.specificity()) == narrowest);
        narrow.into_iter().any(|(rule, (captured, rest))| rule.key.fill(captured, rest) == key)
    }

    /// The path of a key (normalised, see [`normalise`](Self::normalise)), in this module or another one; `None` when no rule covers it, or
    /// when it belongs to several heads: see [`to_paths`](Self::to_paths).
    pub fn to_path(&self, key: &str) -> Option<String> {
        let mut paths = self.to_paths(key);
        if paths.len() == 1 { paths.pop() } else { None }
    }

    /// Every path that has this key, sorted: several for a key that belongs to several heads, none for a key that no rule covers.
    pub fn to_paths(&self, key: &str) -> Vec<String> {
        let matching: Vec<_> = self.rules.iter().filter_map(|rule| Some((rule, rule.key.match_start(key)?))).collect();
        let narrowest: Option<Specificity> = matching.iter().map(|(rule, _)| rule.key.specificity()).max();
        let paths: BTreeSet<_> = matching
            .iter()
            .filter(|(rule, _)| Some(rule.key.specificity()) == narrowest)
            .map(|(rule, (captured, rest))| rule.path.fill(captured, rest))
            // A narrower rule may send that path elsewhere.
            .filter(|path| self.can_give(path, key))
            .collect();
        paths.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::CheckpointError;
    use super::super::tests::map;
    use super::*;

    #[test]
    fn the_longest_rule_wins_both_ways() {
        let map = map();
        for (path, key) in [
            ("backbone.layer.10.attention.query.bias", "bert.layer.10.attention.self.query.bias"),
            ("backbone.layer.1.attention.output.bias", "bert.layer.1.attention.output.dense.bias"),
            ("backbone.embeddings.words.weight", "bert.embeddings.words.weight"),
            ("head.linear.weight", "classifier.weight"),
        ] {
            assert_eq!(map.to_file(path).as_deref(), Some(key));
            assert_eq!(map.to_path(key).as_deref(), Some(path));
        }
        for stranger in ["backbone", "backbone.layers.0.attention", "heads.linear", ""] {
            assert_eq!(map.to_file(stranger), None, "{stranger}");
        }
        assert_eq!(map.to_path("bert.layer.1.attention.other.weight"), None);
    }

    #[test]
    fn a_literal_wins_over_a_star_of_the_same_length() {
        let map = KeyMap::new("").rule("a.*.c", "x.*").rule("a.last.c", "y.last");
        assert_eq!(map.to_file("a.last.c.w").as_deref(), Some("y.last.w"));
        assert_eq!(map.to_file("a.0.c.w").as_deref(), Some("x.0.w"));
        assert!(map.to_paths("x.last.w").is_empty(), "a key that no path gives has no path");
    }

    #[test]
    fn a_key_of_two_heads_has_two_paths() {
        let map = map().rule("head.token.linear", "classifier");
        assert_eq!(map.to_paths("classifier.bias"), ["head.linear.bias", "head.token.linear.bias"]);
        assert_eq!(map.to_path("classifier.bias"), None);
    }

    #[test]
    fn what_a_module_has_itself_is_no_copy() {
        let map = map().rule("head.decoder", "decoder").tied("decoder.weight", "bert.embeddings.words.weight");
        assert!(map.of_module(["head.decoder.weight"]).tied_keys().is_empty());
        assert_eq!(map.of_module(["head.linear.weight"]).tied_keys().len(), 1);
    }

    #[test]
    fn a_rule_may_hold_only_without_another_part() {
        let map = KeyMap::new("bert")
            .rule("head.dense", "classifier.dense")
            .rule("head.linear", "classifier.out_proj")
            .rule_without("head.dense", "head.linear", "classifier");
        map.check().expect("no contradiction");
        let (with, without) =
            (map.of_module(["head.dense.bias", "head.linear.bias"]), map.of_module(["head.dense2.bias"]));
        for (map, key) in
            [(&map, "classifier.out_proj.bias"), (&with, "classifier.out_proj.bias"), (&without, "classifier.bias")]
        {
            assert_eq!(map.to_file("head.linear.bias").as_deref(), Some(key));
            for key in ["classifier.out_proj.bias", "classifier.bias"] {
                assert_eq!(map.to_path(key).as_deref(), Some("head.linear.bias"), "{key} of some module");
            }
        }
        let twice = map.rule_without("head.norm", "head.linear", "other");
        assert!(matches!(twice.check(), Err(CheckpointError::BadRule { .. })), "both could hold");
    }

    #[test]
    fn what_a_module_has_is_neither_a_copy_nor_ignored() {
        let map = KeyMap::new("m").rule("head.decoder", "decoder").tied("decoder.weight", "m.table.weight");
        assert!(map.ignored("decoder.weight").is_some());
        let own = map.of_module(["head.decoder.weight"]);
        assert!(own.ignored("decoder.weight").is_none() && own.tied_keys().is_empty());
    }
}
