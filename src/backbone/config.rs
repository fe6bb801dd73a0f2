//! What the configurations of all architectures are checked with.

use crate::checkpoint::CheckpointError;
use serde_json::{Map, Value};

/// More than any machine holds: a damaged file must not ask for the memory.
const MOST_PARAMETERS: usize = 100_000_000_000;

/// [`CheckpointError::UnsupportedConfig`] unless `holds`; `supported` says what would be.
pub(crate) fn ensure(holds: bool, field: &str, value: impl ToString, supported: &str) -> Result<(), CheckpointError> {
    match holds {
        true => Ok(()),
        false => Err(CheckpointError::UnsupportedConfig {
            field: field.into(),
            value: value.to_string(),
            supported: supported.into(),
        }),
    }
}

/// Sizes that must not be 0.
pub(crate) fn check_sizes(sizes: &[(&str, usize)]) -> Result<(), CheckpointError> {
    sizes.iter().try_for_each(|(field, size)| ensure(*size > 0, field, size, "a number above 0"))
}

/// `divisor` is above 0 and divides `size`, the value of the field called `of`.
pub(crate) fn check_divides(field: &str, divisor: usize, of: &str, size: usize) -> Result<(), CheckpointError> {
    ensure(divisor > 0 && size.is_multiple_of(divisor), field, divisor, &format!("a divisor of {of} ({size})"))
}

/// Dropout probabilities.
pub(crate) fn check_probabilities(probabilities: &[(&str, f64)]) -> Result<(), CheckpointError> {
    let supported = "a probability from 0 to below 1";
    probabilities.iter().try_for_each(|(field, prob)| ensure((0.0..1.0).contains(prob), field, prob, supported))
}

/// The epsilon of a norm.
pub(crate) fn check_epsilon(field: &str, epsilon: f64) -> Result<(), CheckpointError> {
    // Layers compute in f32, in which 1e39 is infinite and 1e-50 is 0.
    let in_layers = epsilon as f32;
    ensure(in_layers > 0.0 && in_layers.is_finite(), field, epsilon, "a number above 0")
}

/// The deviation of fresh weights.
pub(crate) fn check_deviation(field: &str, deviation: f64) -> Result<(), CheckpointError> {
    ensure(deviation >= 0.0 && (deviation as f32).is_finite(), field, deviation, "0 or a number above 0")
}

/// What all architectures that have these fields agree on, read or not: nothing that a file says goes unheard.
pub(crate) fn check_shared(config: &Value) -> Result<(), CheckpointError> {
    for (field, value) in config.as_object().into_iter().flatten() {
        match value {
            Value::Number(number) if field.contains("dropout") => {
                check_probabilities(&[(field.as_str(), number.as_f64().unwrap_or(f64::NAN))])?;
            }
            Value::Number(number)
                if matches!(field.as_str(), "initializer_range" | "initializer_factor" | "init_std") =>
            {
                check_deviation(field, number.as_f64().unwrap_or(f64::NAN))?;
            }
            Value::Object(heads) if field == "pruned_heads" => {
                ensure(heads.is_empty(), field, value, "no head; save the model with its heads in place")?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A token id is an entry of the vocabulary.
pub(crate) fn check_token(field: &str, id: Option<usize>, vocab_size: usize) -> Result<(), CheckpointError> {
    ensure(id.is_none_or(|id| id < vocab_size), field, "beyond vocab_size", "an id of the vocabulary")
}

/// The parameters, given as products of sizes that are added up, are not absurdly many.
pub(crate) fn check_total(products: &[&[usize]]) -> Result<(), CheckpointError> {
    let product = |sizes: &&[usize]| sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let sum = |sum: usize, sizes| sum.checked_add(product(sizes)?);
    let total = products.iter().try_fold(0, sum);
    let fits = total.is_some_and(|total| total <= MOST_PARAMETERS);
    ensure(fits, "hidden_size", "with the other sizes too many", "sizes of at most 100 billion parameters together")
}

/// Whether the projection of a masked-LM head is the token embedding, as it is where the file does not say.
pub(crate) fn ties_embeddings(extra: &Map<String, Value>) -> bool {
    extra.get("tie_word_embeddings") != Some(&Value::Bool(false))
}

/// Keys among the unread ones that change what is computed, each with the one value that is computed here; a key that is
/// absent or null counts as that value.
pub(crate) fn check_only(extra: &Map<String, Value>, only: &[(&str, Value)]) -> Result<(), CheckpointError> {
    only.iter().try_for_each(|(field, supported)| {
        let found = extra.get(*field).filter(|value| !value.is_null()).unwrap_or(supported);
        ensure(found == supported, field, found, &supported.to_string())
    })
}
