//! From a pickle's dictionary to named tensors.

use std::collections::BTreeMap;

use super::{Storages, bytes_of};
use crate::checkpoint::header::{Entry, Header};
use crate::checkpoint::number_type::NumberType;
use crate::checkpoint::pickle::{Fault, Id, Object, Objects, TensorView};

/// What trainers put their weights under, among other things that are not read.
const NESTED: &str = "state_dict";

/// The tensors of a dictionary: of a plain one, or of its `state_dict`.
pub(super) fn read(objects: &Objects, root: Id, storages: &Storages) -> Result<Header, Fault> {
    let pairs = dictionary(objects, root)?;
    let nested = pairs.iter().find(|(key, _)| objects.text(*key) == Some(NESTED));
    let pairs = match nested {
        Some((_, inner)) if matches!(objects[*inner], Object::Dict(_)) => dictionary(objects, *inner)?,
        _ => pairs,
    };
    let mut tensors = BTreeMap::new();
    for (key, value) in pairs {
        let key = objects.text(*key).ok_or_else(|| Fault::Refused(format!("{} as a key", objects.name(*key))))?;
        let Object::Tensor(view) = &objects[*value] else {
            return Err(Fault::Refused(format!("{} under `{key}`", objects.name(*value))));
        };
        if tensors.insert(key.to_string(), entry(view, storages)?).is_some() {
            return Err(Fault::Damaged(format!("`{key}` occurs twice")));
        }
    }
    Ok(Header { tensors, metadata: BTreeMap::new() })
}

fn dictionary(objects: &Objects, id: Id) -> Result<&[(Id, Id)], Fault> {
    match &objects[id] {
        Object::Dict(pairs) => Ok(pairs),
        _ => Err(Fault::Refused(format!("{} in place of a dictionary", objects.name(id)))),
    }
}

fn entry(view: &TensorView, storages: &Storages) -> Result<Entry, Fault> {
    let storage = bytes_of(&view.storage, storages)?;
    let width = view.storage.dtype.bitsize() / 8;
    // The view lies within the storage, so nothing here overflows.
    let start = storage.start + view.offset * width;
    Ok(Entry {
        dtype: NumberType::Plain(view.storage.dtype),
        shape: view.shape.clone(),
        range: start..start + view.span() * width,
        strides: (!view.is_contiguous()).then(|| view.strides.clone()),
    })
}
