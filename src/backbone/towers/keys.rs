//! What the keys of CLIP and SigLIP have in common, for both towers and for one alone.

use crate::checkpoint::KeyMap;

/// Why `position_ids` is not read.
pub(super) const POSITION_IDS: &str = "a constant that counts the positions";

const LAYER: [(&str, &str); 8] = [
    ("attention_norm", "layer_norm1"),
    ("attention.query", "self_attn.q_proj"),
    ("attention.key", "self_attn.k_proj"),
    ("attention.value", "self_attn.v_proj"),
    ("attention.output", "self_attn.out_proj"),
    ("mlp_norm", "layer_norm2"),
    ("mlp.up", "mlp.fc1"),
    ("mlp.down", "mlp.fc2"),
];

/// Adds the rules of a vision tower at `path`.
pub(super) fn vision_keys(map: KeyMap, path: &str) -> KeyMap {
    let rules = [
        ("embeddings", "embeddings"),
        ("embeddings.patches", "embeddings.patch_embedding"),
        ("embeddings.norm", "pre_layrnorm"),
        ("post_layernorm", "post_layernorm"),
        ("head", "head"),
        ("head.input.weight", "head.attention.in_proj_weight"),
        ("head.input.bias", "head.attention.in_proj_bias"),
        ("head.output", "head.attention.out_proj"),
        ("head.mlp.up", "head.mlp.fc1"),
        ("head.mlp.down", "head.mlp.fc2"),
    ];
    with_rules(map, (path, "vision_model"), &rules)
}

/// Adds the rules of a text tower at `path`, but for its projection.
pub(super) fn text_keys(map: KeyMap, path: &str) -> KeyMap {
    with_rules(map, (path, "text_model"), &[("embeddings", "embeddings"), ("final_layer_norm", "final_layer_norm")])
}

fn with_rules(map: KeyMap, (path, key): (&str, &str), rules: &[(&str, &str)]) -> KeyMap {
    let map = LAYER.iter().fold(map, |map, (own, other)| {
        map.rule(&format!("{path}.encoder.layers.*.{own}"), &format!("{key}.encoder.layers.*.{other}"))
    });
    rules.iter().fold(map, |map, (own, other)| map.rule(&format!("{path}.{own}"), &format!("{key}.{other}")))
}
