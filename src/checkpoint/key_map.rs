//! The table between our parameter paths and the keys of a checkpoint file.

use std::collections::{BTreeMap, BTreeSet};

use super::error::CheckpointError;
use super::pattern::{Pattern, Specificity};
use super::rule::Rule;

/// What PyTorch's batch norms count, a whole number.
pub(super) const COUNTER: &str = "num_batches_tracked";

/// The parent under which the names of old TensorFlow conversions are known.
const OLD_NORM: &str = "LayerNorm";

/// A table between our parameter paths (`backbone.encoder.layer.0.output.weight`) and a file's keys
/// (`bert.encoder.layer.0.output.dense.weight`), read in both directions.
///
/// A rule pairs the leading segments of a path with those of a key; what follows is carried over, and `*` stands for one segment that is
/// carried over too. The longest rule that matches wins; of two equally long ones, the one that is literal where the other has its first `*`.
///
/// ```
/// use rekindle::checkpoint::KeyMap;
///
/// let map = KeyMap::new("bert").rule("backbone.layer.*.output", "bert.layer.*.output.dense");
/// assert_eq!(map.to_file("backbone.layer.3.output.weight").as_deref(), Some("bert.layer.3.output.dense.weight"));
/// assert_eq!(map.to_path("bert.layer.3.output.dense.weight").as_deref(), Some("backbone.layer.3.output.weight"));
/// ```
#[derive(Debug, Clone)]
pub struct KeyMap {
    base_prefix: String,
    /// Whether files are written without the base prefix.
    bare: bool,
    rules: Vec<Rule>,
    ignored: Vec<(Pattern, String)>,
    optional: Vec<Pattern>,
    constants: Vec<Pattern>,
    unsaved: Vec<Pattern>,
    tied: Vec<(String, String)>,
    as_stored: Vec<Pattern>,
    scalars: Vec<Pattern>,
    /// Whether files hold a counter beside each running mean.
    counts_batches: bool,
    /// Tensors that files hold too.
    computed: Vec<(String, Vec<f32>)>,
}

impl KeyMap {
    /// An empty table. `base_prefix` is the first segment of the body's keys (`bert`), which a file that was saved from the bare body lacks;
    /// empty when the architecture has none.
    pub fn new(base_prefix: &str) -> Self {
        Self {
            base_prefix: base_prefix.into(),
            bare: false,
            rules: Vec::new(),
            ignored: Vec::new(),
            optional: Vec::new(),
            constants: Vec::new(),
            unsaved: Vec::new(),
            tied: Vec::new(),
            as_stored: Vec::new(),
            scalars: Vec::new(),
            counts_batches: false,
            computed: Vec::new(),
        }
    }

    /// Files are written without the base prefix, which only some classes of the architecture have: T5's.
    #[must_use]
    pub fn written_bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Adds a rule. Both sides have the same number of `*`; [`check`](Self::check) says so if not.
    #[must_use]
    pub fn rule(mut self, path: &str, key: &str) -> Self {
        self.rules.push(Rule::new(path, key));
        self
    }

    /// Adds a rule that holds for modules with nothing at `absent` (leading segments of a path), in place of the usual rule
    /// of the same path: RoBERTa's last linear layer is `classifier.out_proj` after a dense layer, and `classifier` without.
    /// It waits for [`of_module`](Self::of_module).
    #[must_use]
    pub fn rule_without(mut self, absent: &str, path: &str, key: &str) -> Self {
        self.rules.push(Rule::without(absent, path, key));
        self
    }

    /// The table for a module with these parameter paths: rules that wait for what is absent hold or do not, and a key is
    /// neither a copy nor ignored where the module has a parameter of its own for it (an output projection that is not tied).
    #[must_use]
    pub fn of_module<'a>(&self, paths: impl IntoIterator<Item = &'a str> + Clone) -> Self {
        let has = |part: &Pattern| paths.clone().into_iter().any(|path| part.match_start(path).is_some());
        let mut map = self.clone();
        for rule in &mut map.rules {
            rule.decide(has);
        }
        let own: BTreeSet<_> = paths.clone().into_iter().filter_map(|path| map.to_file(path)).collect();
        map.tied.retain(|(copy, _)| !own.contains(copy));
        map.ignored.retain(|(pattern, _)| !own.iter().any(|key| pattern.matches(key)));
        map
    }

    /// Adds a pattern over whole keys that are left unread, and why. `*` is one segment, `**` any number of them.
    #[must_use]
    pub fn ignore(mut self, pattern: &str, reason: &str) -> Self {
        self.ignored.push((Pattern::new(pattern), reason.into()));
        self
    }

    /// Adds a part, by the leading segments of its path, which a file may lack and which is then freshly initialised.
    #[must_use]
    pub fn optional(mut self, path: &str) -> Self {
        self.optional.push(Pattern::new(path));
        self
    }

    /// Adds a part, by the leading segments of its path, which a file may lack because it then is what it is in a fresh module:
    /// a table of fixed positions, a bias of zeros.
    #[must_use]
    pub fn constant(mut self, path: &str) -> Self {
        self.constants.push(Pattern::new(path));
        self
    }

    /// As [`constant`](Self::constant), and files that are written lack it too.
    #[must_use]
    pub fn unsaved(mut self, path: &str) -> Self {
        self.unsaved.push(Pattern::new(path));
        self.constant(path)
    }

    /// Adds a key that some files carry though it repeats another one. It is not read; where it is present it must equal its
    /// original, for a model that ties the two cannot represent a difference. It stands for an original that the file lacks.
    #[must_use]
    pub fn tied(mut self, copy: &str, original: &str) -> Self {
        self.tied.push((copy.into(), original.into()));
        self.ignore(copy, &format!("a copy of `{original}`"))
    }

    /// Adds linear layers, by the leading segments of their paths, whose weight files keep as `[in, out]`: GPT-2's `Conv1D`.
    #[must_use]
    pub fn as_stored(mut self, path: &str) -> Self {
        self.as_stored.push(Pattern::new(path));
        self
    }

    /// Adds a parameter of one value that files keep without an axis: `[]` there, `[1]` in memory.
    #[must_use]
    pub fn scalar(mut self, path: &str) -> Self {
        self.scalars.push(Pattern::new(path));
        self
    }

    /// Files hold PyTorch's counter of batches, `num_batches_tracked`, beside each `running_mean`. Nothing reads it; it is
    /// written as 0.
    #[must_use]
    pub fn counting_batches(mut self) -> Self {
        self.counts_batches = true;
        self
    }

    /// Adds a list of numbers that files hold though the configuration says them: frequencies.
    #[must_use]
    pub fn computed(mut self, key: &str, values: Vec<f32>) -> Self {
        self.computed.push((key.into(), values));
        self
    }

    /// What files with these keys hold beside parameters: key, shape and values.
    pub(super) fn unread(&self, keys: &[String]) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let means = keys.iter().filter(|_| self.counts_batches).filter_map(|key| key.strip_suffix("running_mean"));
        let counters = means.map(|norm| (format!("{norm}{COUNTER}"), vec![], vec![0.0]));
        let computed = self.computed.iter();
        let computed = computed.map(|(key, values)| (self.written(key), vec![values.len()], values.clone()));
        counters.chain(computed).collect()
    }

    /// The shape that files give a parameter at this path whose shape in memory is `shape`, linear layers apart.
    pub fn stored_shape(&self, path: &str, shape: &[usize]) -> Vec<usize> {
        let is_scalar = self.scalars.iter().any(|pattern| pattern.match_start(path).is_some());
        if is_scalar { vec![] } else { shape.to_vec() }
    }

    /// The keys that repeat another one, as (copy, original).
    pub fn tied_keys(&self) -> &[(String, String)] {
        &self.tied
    }

    /// Whether files keep the linear layer at this path as `[out, in]`, which is transposed in memory.
    pub fn transposes(&self, path: &str) -> bool {
        !self.as_stored.iter().any(|pattern| pattern.match_start(path).is_some())
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

    fn written(&self, key: &str) -> String {
        let bare = key.strip_prefix(&self.base_prefix).and_then(|rest| rest.strip_prefix('.')).filter(|_| self.bare);
        bare.unwrap_or(key).into()
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

    /// Why a key (normalised) is left unread; `None` when it is not on the list.
    pub fn ignored(&self, key: &str) -> Option<&str> {
        self.ignored.iter().find(|(pattern, _)| pattern.matches(key)).map(|(_, reason)| reason.as_str())
    }

    /// Whether a file may lack this path.
    pub fn is_optional(&self, path: &str) -> bool {
        self.optional.iter().any(|pattern| pattern.match_start(path).is_some())
    }

    /// Whether files are written without this path.
    pub fn is_unsaved(&self, path: &str) -> bool {
        self.unsaved.iter().any(|pattern| pattern.match_start(path).is_some())
    }

    /// Whether a path that a file lacks is what it is in a fresh module.
    pub fn is_constant(&self, path: &str) -> bool {
        self.constants.iter().any(|pattern| pattern.match_start(path).is_some())
    }

    /// Whether a key (normalised) stands under the base prefix. Without a base prefix every key counts as the body's.
    pub(super) fn is_of_body(&self, key: &str) -> bool {
        self.base_prefix.is_empty() || first_segment(key) == self.base_prefix
    }

    /// Brings a file's keys to the naming of this table: from normalised key to the file's own.
    ///
    /// A file of the bare body gets the base prefix: one where no key has it, but some start as the body's keys do after it.
    /// `LayerNorm.gamma` and `LayerNorm.beta`, as files converted from TensorFlow have them, become `weight` and `bias`. Of
    /// tied keys whose original is not there, the first copy gets its name.
    ///
    /// # Errors
    /// `DuplicateKey` when two keys of the file become one.
    pub fn normalise<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a str>,
    ) -> Result<BTreeMap<String, String>, CheckpointError> {
        let keys: Vec<_> = keys.into_iter().collect();
        let body = self.body_parts();
        let bare = !keys.iter().any(|key| first_segment(key) == self.base_prefix);
        let mut normalised = BTreeMap::new();
        for key in keys {
            let prefixed = bare && body.contains(first_segment(key));
            let name = modern(&if prefixed { format!("{}.{key}", self.base_prefix) } else { key.to_string() });
            if let Some(first) = normalised.insert(name.clone(), key.to_string()) {
                let (first, second) = (format!("`{first}`"), format!("`{key}`"));
                return Err(CheckpointError::DuplicateKey { key: name, first, second });
            }
        }
        self.restore_originals(&mut normalised);
        Ok(normalised)
    }

    /// Files hold tied tensors once, under whichever name came first to their writer.
    fn restore_originals(&self, keys: &mut BTreeMap<String, String>) {
        for (copy, original) in &self.tied {
            if !keys.contains_key(original)
                && let Some(key) = keys.remove(copy)
            {
                keys.insert(original.clone(), key);
            }
        }
    }

    /// What follows the base prefix in the rules' keys, such as `embeddings`, `encoder`, `pooler`.
    fn body_parts(&self) -> BTreeSet<&str> {
        let keys = self.rules.iter().map(|rule| rule.key.segments());
        keys.filter(|key| key[0] == self.base_prefix).filter_map(|key| key.get(1)).map(String::as_str).collect()
    }

    /// Checks the table itself: each rule is well formed, no path has two rules, no key has two paths except in different heads.
    ///
    /// # Errors
    /// `BadRule`, which names the rule.
    pub fn check(&self) -> Result<(), CheckpointError> {
        for (number, rule) in self.rules.iter().enumerate() {
            rule.check()?;
            for earlier in &self.rules[..number] {
                rule.check_against(earlier)?;
            }
        }
        Ok(())
    }
}

fn first_segment(key: &str) -> &str {
    key.split('.').next().unwrap_or_default()
}

/// `LayerNorm.gamma` and `.beta` under their modern names.
fn modern(key: &str) -> String {
    let rename = |old: &str, new: &str| {
        let module = key.strip_suffix(old)?.strip_suffix('.')?;
        (module.rsplit('.').next() == Some(OLD_NORM)).then(|| format!("{module}.{new}"))
    };
    rename("gamma", "weight").or_else(|| rename("beta", "bias")).unwrap_or_else(|| key.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> KeyMap {
        KeyMap::new("bert")
            .rule("backbone.embeddings", "bert.embeddings")
            .rule("backbone.layer.*.attention", "bert.layer.*.attention.self")
            .rule("backbone.layer.*.attention.output", "bert.layer.*.attention.output.dense")
            .rule("head.linear", "classifier")
    }

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
    fn the_prefix_is_added_to_a_bare_body_only() {
        let map = map();
        let bare =
            map.normalise(["embeddings.words.weight", "layer.0.attention.self.query.bias", "other"]).expect("fine");
        assert_eq!(bare["bert.embeddings.words.weight"], "embeddings.words.weight");
        assert_eq!(bare["bert.layer.0.attention.self.query.bias"], "layer.0.attention.self.query.bias");
        assert_eq!(bare["other"], "other");
        let whole = map.normalise(["bert.embeddings.words.weight", "embeddings.extra"]).expect("fine");
        assert_eq!(whole["embeddings.extra"], "embeddings.extra");
        let similar = map.normalise(["bertha.x", "embeddings_extra.y"]).expect("fine");
        assert_eq!(similar.keys().collect::<Vec<_>>(), ["bertha.x", "embeddings_extra.y"]);
    }

    #[test]
    fn old_names_are_renewed_under_layer_norm_only() {
        let keys =
            ["bert.LayerNorm.gamma", "bert.LayerNorm.beta", "bert.other.gamma", "bert.MyLayerNorm.beta", "gamma"];
        let renewed = map().normalise(keys).expect("fine");
        let mut expected =
            vec!["bert.LayerNorm.weight", "bert.LayerNorm.bias", "bert.other.gamma", "bert.MyLayerNorm.beta", "gamma"];
        expected.sort_unstable();
        assert_eq!(renewed.keys().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_collision_names_both_keys() {
        let error = map().normalise(["bert.LayerNorm.gamma", "bert.LayerNorm.weight"]).expect_err("collides");
        let CheckpointError::DuplicateKey { key, first, second } = error else { panic!("{error}") };
        assert_eq!((key.as_str(), first.as_str()), ("bert.LayerNorm.weight", "`bert.LayerNorm.gamma`"));
        assert_eq!(second, "`bert.LayerNorm.weight`");
    }

    #[test]
    fn check_finds_contradictions() {
        let bad = |map: KeyMap| matches!(map.check(), Err(CheckpointError::BadRule { .. }));
        assert!(map().check().is_ok());
        assert!(bad(map().rule("backbone.other", "bert.embeddings")), "one key, two paths");
        assert!(bad(map().rule("backbone.embeddings", "bert.other")), "one path, two keys");
        assert!(bad(map().rule("backbone.x.*", "bert.y")), "unequal stars");
        assert!(bad(map().rule("backbone.**", "bert.**")), "`**` in a rule");
        assert!(bad(map().rule("backbone..x", "bert.x")), "empty segment");
        assert!(bad(map().rule("backbone.first", "bert.layer.0.attention.self")), "overlap through a star");
        assert!(bad(map().rule("backbone.linear", "classifier")), "a head and a body");
        assert!(map().rule("head.token.linear", "classifier").check().is_ok(), "two heads");
    }

    #[test]
    fn a_key_of_two_heads_has_two_paths() {
        let map = map().rule("head.token.linear", "classifier");
        assert_eq!(map.to_paths("classifier.bias"), ["head.linear.bias", "head.token.linear.bias"]);
        assert_eq!(map.to_path("classifier.bias"), None);
    }

    #[test]
    fn a_scalar_has_no_axis_in_files() {
        let map = map().scalar("head.scale");
        assert_eq!(map.stored_shape("head.scale", &[1]), [0usize; 0]);
        assert_eq!(map.stored_shape("head.scales", &[1]), [1]);
    }

    #[test]
    fn a_copy_stands_for_an_original_that_is_not_there() {
        let map = map()
            .tied("decoder.weight", "bert.embeddings.words.weight")
            .tied("other.weight", "bert.embeddings.words.weight");
        let keys =
            map.normalise(["bert.layer.0.attention.self.query.bias", "decoder.weight", "other.weight"]).expect("fine");
        assert_eq!(keys["bert.embeddings.words.weight"], "decoder.weight");
        assert_eq!(keys["other.weight"], "other.weight", "the second copy is still compared with the original");
        let both = map.normalise(["bert.embeddings.words.weight", "decoder.weight"]).expect("fine");
        assert_eq!(both["bert.embeddings.words.weight"], "bert.embeddings.words.weight");
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

    #[test]
    fn lists_are_consulted_by_segments() {
        let map = map().ignore("**.position_ids", "a counter").optional("backbone.pooler");
        assert_eq!(map.ignored("bert.embeddings.position_ids"), Some("a counter"));
        assert_eq!(map.ignored("bert.embeddings.words.weight"), None);
        assert!(map.is_optional("backbone.pooler.dense.weight"));
        assert!(!map.is_optional("backbone.pooler2.dense.weight"));
        assert!(map.clone().constant("backbone.positions").is_constant("backbone.positions.weight"));
        assert!(!map.is_constant("backbone.pooler.dense.weight"));
        assert!(map.is_of_body("bert.other.weight") && !map.is_of_body("bertha.weight"));
        assert!(KeyMap::new("").is_of_body("anything"));
    }
}
