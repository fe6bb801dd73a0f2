//! A file's keys under the names that the table has.

use super::super::error::CheckpointError;
use super::{KeyMap, first_segment};
use std::collections::{BTreeMap, BTreeSet};

/// The parent under which the names of old TensorFlow conversions are known.
const OLD_NORM: &str = "LayerNorm";

impl KeyMap {
    /// Brings a file's keys to the naming of this table: from normalised key to the file's own.
    ///
    /// A file of the bare body gets the base prefix: one where no key has it, but some start as the body's keys do after it.
    /// So does a file with another prefix in its place, where there may be one ([`prefixed_with`](Self::prefixed_with)).
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
            let other = self.other_prefix.as_ref().and_then(|other| key.strip_prefix(&other.prefix)?.strip_prefix('.'));
            let rest = if body.contains(first_segment(key)) { Some(key) } else { other };
            let prefixed = rest.filter(|_| bare).map(|rest| format!("{}.{rest}", self.base_prefix));
            let name = modern(prefixed.as_deref().unwrap_or(key));
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
    use super::super::tests::map;
    use super::*;

    #[test]
    fn some_modules_have_another_prefix() {
        let map = map().prefixed_with("head.linear", "transformer");
        for key in ["bert.layer.3.x", "layer.3.x", "transformer.layer.3.x"] {
            assert_eq!(map.normalise([key, "classifier.bias"]).expect("fine")["bert.layer.3.x"], key);
        }
        let both = map.normalise(["bert.layer.3.x", "transformer.layer.3.x"]).expect("fine");
        assert!(both.contains_key("transformer.layer.3.x"), "the other prefix stands for a missing one");
        let path = "backbone.embeddings.words.weight";
        let of = |parts: [&str; 2]| map.of_module(parts).to_written(path).expect("covered");
        assert_eq!(of([path, "head.linear.bias"]), "transformer.embeddings.words.weight");
        assert_eq!(of([path, "head.token.bias"]), "bert.embeddings.words.weight");
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
}
