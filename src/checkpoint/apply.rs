//! Where named tensors meet a Burn module. Everything is checked before the module is touched.

use super::convert::transposed;
use super::fill::Plan;
use super::save_format::Named;
use super::{CheckpointError, KeyMap, LoadReport, Tensors, save_tensors};
use crate::params::{Entry, list};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What stands before a backbone's own paths in a model.
pub(super) const BACKBONE: &str = "backbone.";

/// What a file says against what a module needs.
struct Matching<'a> {
    tensors: &'a Tensors,
    /// Key after normalisation to key in the file.
    keys: BTreeMap<String, String>,
    report: LoadReport,
    plan: Plan,
}

/// A copy of `module` with the file's values. `prefix` stands before the module's own paths (`backbone.`, or nothing for
/// a whole model). The module itself is not touched.
pub(super) fn load_mapped<M: Module>(
    module: &M,
    prefix: &str,
    tensors: &Tensors,
    map: &KeyMap,
) -> Result<(M, LoadReport), CheckpointError> {
    let entries: Vec<Entry> = parameters(module).collect();
    let paths: Vec<String> = entries.iter().map(|entry| format!("{prefix}{}", entry.path)).collect();
    let map = &map.of_module(paths.iter().map(String::as_str));
    let keys = map.normalise(tensors.keys())?;
    let mut matching = Matching { tensors, keys, report: LoadReport::default(), plan: Plan::default() };
    let mut used = BTreeSet::new();
    let mut missing = vec![];
    for (entry, path) in entries.into_iter().zip(paths) {
        let key = map.to_file(&path);
        match key.as_ref().and_then(|key| matching.keys.get(key)).cloned() {
            Some(file_key) => {
                let shape = map.stored_shape(&path, &entry.shape);
                matching.take((&entry, shape), &path, &file_key, entry.is_linear && map.transposes(&path))?;
                used.extend(key);
            }
            None if map.is_constant(&path) => {}
            None if map.is_optional(&path) => matching.report.reinitialised.push(path),
            None => missing.push(key.unwrap_or(path)),
        }
    }
    if !missing.is_empty() {
        return Err(CheckpointError::MissingKey { keys: missing, path: tensors.path().into() });
    }
    matching.sort_the_rest(map, &used, prefix == BACKBONE)?;
    Ok((matching.plan.fill(module, tensors)?, matching.report))
}

impl Matching<'_> {
    fn take(
        &mut self,
        (entry, mut expected): (&Entry, Vec<usize>),
        path: &str,
        key: &str,
        transposed: bool,
    ) -> Result<(), CheckpointError> {
        if transposed {
            expected.reverse();
        }
        let found = self.tensors.shape(key)?;
        if found != expected {
            return Err(CheckpointError::WrongShape { key: key.into(), expected, found: found.to_vec() });
        }
        self.plan.add(entry.id, key, transposed);
        self.report.loaded.push(path.into());
        Ok(())
    }

    /// Keys that no parameter read: those of other heads and optional parts are reported, and where the body alone is
    /// loaded, all that is not of the body. Unknown ones are an error, and so are those of the body, such as a layer that
    /// the configuration leaves out.
    fn sort_the_rest(
        &mut self,
        map: &KeyMap,
        used: &BTreeSet<String>,
        body_alone: bool,
    ) -> Result<(), CheckpointError> {
        let mut unknown = vec![];
        for (key, file_key) in self.keys.iter().filter(|(key, _)| !used.contains(*key)) {
            let paths = map.to_paths(key);
            let spare = |path: &String| map.is_optional(path) || !path.starts_with(BACKBONE);
            match map.ignored(key) {
                Some(_) => self.report.ignored.push(file_key.clone()),
                None if paths.iter().any(spare) || body_alone && !map.is_of_body(key) => {
                    self.report.unused.push(file_key.clone())
                }
                None => unknown.push(file_key.clone()),
            }
        }
        match unknown.is_empty() {
            true => Ok(()),
            false => Err(CheckpointError::UnknownKey {
                keys: unknown,
                path: self.tensors.path().into(),
                mend: "load it with the architecture that made it, and the sizes that its configuration had".into(),
            }),
        }
    }
}

/// Float parameters and buffers; everything else is not stored.
fn parameters<M: Module>(module: &M) -> impl Iterator<Item = Entry> {
    list(module).into_iter().filter(|entry| entry.is_float)
}

/// A tensor's path, shape and values, which are read when they are written.
pub(crate) type Held = (String, Vec<usize>, Tensor<1>);

/// The chosen float tensors of a module. None is copied.
pub(crate) fn held<M: Module>(module: &M, keep: impl Fn(&str) -> bool) -> Vec<Held> {
    struct Holder<'a> {
        entries: std::vec::IntoIter<Entry>,
        keep: &'a dyn Fn(&str) -> bool,
        held: Vec<Held>,
    }
    impl ModuleVisitor for Holder<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let entry = self.entries.next().filter(|entry| (self.keep)(&entry.path));
            self.held.extend(entry.map(|entry| {
                let size = entry.size();
                (entry.path, entry.shape, param.val().reshape([size]))
            }));
        }
    }
    let entries = parameters(module).collect::<Vec<_>>().into_iter();
    let mut holder = Holder { entries, keep: &keep, held: vec![] };
    module.visit(&mut holder);
    holder.held
}

/// The chosen float tensors of a module: path, shape and values. What is not chosen is not copied.
pub(crate) fn selected<M: Module>(module: &M, keep: impl Fn(&str) -> bool) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let held = held(module, keep).into_iter();
    held.map(|(path, shape, values)| (path, shape, floats(values.into_data()))).collect()
}

/// The values of a float tensor as f32.
pub(crate) fn floats(data: TensorData) -> Vec<f32> {
    data.try_to_vec::<f32>().unwrap_or_else(|_| data.iter::<f32>().collect())
}

/// A module's weights under the names that `map` gives them, in the layout of Transformers. `prefix` as in [`load_mapped`].
pub(super) fn mapped<M: Module>(module: &M, prefix: &str, map: &KeyMap) -> Result<Vec<Named>, CheckpointError> {
    let turns = |entry: &Entry| entry.is_linear && map.transposes(&format!("{prefix}{}", entry.path));
    let linear: BTreeSet<String> = parameters(module).filter(turns).map(|entry| entry.path).collect();
    let own = selected(module, |_| true);
    let paths: Vec<String> = own.iter().map(|(path, ..)| format!("{prefix}{path}")).collect();
    let map = map.of_module(paths.iter().map(String::as_str));
    let mut renamed = vec![];
    for ((own, shape, values), path) in own.into_iter().zip(paths).filter(|(_, path)| !map.is_unsaved(path)) {
        let (shape, values) = match (linear.contains(&own), shape.as_slice()) {
            // Files keep a linear map as `[out, in]`, Burn as `[in, out]`.
            (true, [rows, columns]) => (vec![*columns, *rows], transposed(&values, *rows, *columns)),
            _ => (map.stored_shape(&path, &shape), values),
        };
        let key = map.to_written(&path).ok_or(CheckpointError::Unmapped { path })?;
        renamed.push((key, shape, values));
    }
    let keys: Vec<String> = renamed.iter().map(|(key, ..)| key.clone()).collect();
    renamed.extend(map.unread(&keys));
    Ok(renamed)
}

/// Writes a model's weights under its own parameter paths, atomically.
///
/// # Errors
/// [`CheckpointError::Io`] names the path.
pub fn save_weights<M: Module>(module: &M, path: impl AsRef<Path>) -> Result<(), CheckpointError> {
    save_tensors(path, selected(module, |_| true), &[("format", "rekindle")])
}

/// A copy of `module` with the weights that [`save_weights`] wrote.
///
/// # Errors
/// A missing or unknown path, a wrong shape, a NaN, a damaged file; `module` is not touched.
pub fn load_weights<M: Module>(module: &M, path: impl AsRef<Path>) -> Result<M, CheckpointError> {
    load_selected(module, path.as_ref(), |_| true)
}

/// A copy of `module` with the chosen tensors from a file that holds exactly those.
pub(crate) fn load_selected<M: Module>(
    module: &M,
    path: &Path,
    keep: impl Fn(&str) -> bool,
) -> Result<M, CheckpointError> {
    let tensors = Tensors::open_file(path)?;
    let mut plan = Plan::default();
    let mut unknown: BTreeSet<&str> = tensors.keys().collect();
    for entry in parameters(module).filter(|entry| keep(&entry.path)) {
        if !unknown.remove(entry.path.as_str()) {
            return Err(CheckpointError::MissingKey { keys: vec![entry.path], path: path.into() });
        }
        let found = tensors.shape(&entry.path)?;
        if found != entry.shape {
            let found = found.to_vec();
            return Err(CheckpointError::WrongShape { key: entry.path, expected: entry.shape, found });
        }
        plan.add(entry.id, &entry.path, false);
    }
    if !unknown.is_empty() {
        let keys = unknown.into_iter().map(Into::into).collect();
        let mend = "load it into the model that wrote it".into();
        return Err(CheckpointError::UnknownKey { keys, path: path.into(), mend });
    }
    plan.fill(module, &tensors)
}
