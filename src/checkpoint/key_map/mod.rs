//! The table between our parameter paths and the keys of a checkpoint file.

mod normalise;
mod translate;

use super::error::CheckpointError;
use super::pattern::Pattern;
use super::rule::Rule;

/// What PyTorch's batch norms count, a whole number.
pub(super) const COUNTER: &str = "num_batches_tracked";

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
    /// Parts whose modules have the base prefix in files all the same.
    prefixed: Vec<Pattern>,
    /// What stands in for the base prefix.
    other_prefix: Option<OtherPrefix>,
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
            prefixed: Vec::new(),
            other_prefix: None,
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

    /// Files of modules with something at `present` (leading segments of a path) are written with the base prefix, whatever
    /// [`written_bare`](Self::written_bare) says. It waits for [`of_module`](Self::of_module).
    #[must_use]
    pub fn prefixed_where(mut self, present: &str) -> Self {
        self.prefixed.push(Pattern::new(present));
        self
    }

    /// Files of modules with something at `part` (leading segments of a path) have `prefix` in place of the base prefix:
    /// LLaMA's class for question answering calls the body `transformer`. Read is either. It waits for
    /// [`of_module`](Self::of_module).
    #[must_use]
    pub fn prefixed_with(mut self, part: &str, prefix: &str) -> Self {
        self.other_prefix = Some(OtherPrefix { part: Pattern::new(part), prefix: prefix.into(), holds: false });
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

    /// As [`constant`](Self::constant), and files that are written lack it too, but for those of the body alone.
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
        !self.bare && self.unsaved.iter().any(|pattern| pattern.match_start(path).is_some())
    }

    /// Whether a path that a file lacks is what it is in a fresh module.
    pub fn is_constant(&self, path: &str) -> bool {
        self.constants.iter().any(|pattern| pattern.match_start(path).is_some())
    }

    /// Whether a key (normalised) stands under the base prefix. Without a base prefix every key counts as the body's.
    pub(super) fn is_of_body(&self, key: &str) -> bool {
        self.base_prefix.is_empty() || first_segment(key) == self.base_prefix
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

/// What stands in for the base prefix in the files of some modules.
#[derive(Debug, Clone)]
struct OtherPrefix {
    /// What those modules have.
    part: Pattern,
    prefix: String,
    /// Whether it holds for the module at hand.
    holds: bool,
}

fn first_segment(key: &str) -> &str {
    key.split('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn map() -> KeyMap {
        KeyMap::new("bert")
            .rule("backbone.embeddings", "bert.embeddings")
            .rule("backbone.layer.*.attention", "bert.layer.*.attention.self")
            .rule("backbone.layer.*.attention.output", "bert.layer.*.attention.output.dense")
            .rule("head.linear", "classifier")
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
    fn a_scalar_has_no_axis_in_files() {
        let map = map().scalar("head.scale");
        assert_eq!(map.stored_shape("head.scale", &[1]), [0usize; 0]);
        assert_eq!(map.stored_shape("head.scales", &[1]), [1]);
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
