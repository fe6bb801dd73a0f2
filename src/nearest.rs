//! The nearest of several names, for error messages.

/// The name with the smallest edit distance to `wanted`; the first of several.
pub(crate) fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names.into_iter().min_by_key(|name| strsim::levenshtein(wanted, name))
}
