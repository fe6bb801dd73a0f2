//! What a pickle is made of.

use std::ops::Index;

use safetensors::Dtype;

use super::Fault;

/// PyTorch's own limit.
const MAX_AXES: usize = 64;
/// A state dict has some twenty objects a tensor.
const MAX_OBJECTS: usize = 4_000_000;

/// The number of an object, in the order in which the pickle made them.
pub(crate) type Id = usize;

/// An object of a pickle. Those within it are named by their numbers: a pickle may share them and close circles.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Object {
    None,
    Bool(bool),
    Int(i64),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(StorageRef),
    Tensor(TensorView),
    /// A float, bytes, a whole number beyond 64 bits: nothing that a tensor is made of.
    Other(&'static str),
}

/// The globals that a pickle may name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

/// Values that tensors are views of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StorageRef {
    pub(crate) dtype: Dtype,
    /// Its name among the file's storages.
    pub(crate) key: String,
    /// How many values it has.
    pub(crate) count: usize,
}

/// A view of a storage, all of which lies within it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorView {
    pub(crate) storage: StorageRef,
    /// The first value's place in the storage.
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    /// Distance of neighbours along each axis, in values.
    pub(crate) strides: Vec<usize>,
}

impl Global {
    pub(super) fn of(module: &str, name: &str) -> Option<Self> {
        match (module, name) {
            ("collections", "OrderedDict") => Some(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Self::RebuildParameter),
            ("torch", name) => storage(name.strip_suffix("Storage")?).map(Self::Storage),
            _ => None,
        }
    }
}

fn storage(name: &str) -> Option<Dtype> {
    Some(match name {
        "Float" => Dtype::F32,
        "Half" => Dtype::F16,
        "BFloat16" => Dtype::BF16,
        "Double" => Dtype::F64,
        "Long" => Dtype::I64,
        "Int" => Dtype::I32,
        "Short" => Dtype::I16,
        "Char" => Dtype::I8,
        "Byte" => Dtype::U8,
        "Bool" => Dtype::BOOL,
        _ => return None,
    })
}

impl TensorView {
    /// The number of values.
    pub(crate) fn count(&self) -> usize {
        // Checked when it was made: no more than the storage has.
        self.shape.iter().product()
    }

    /// The place after the last value, counted from the first one.
    pub(crate) fn span(&self) -> usize {
        if self.count() == 0 {
            return 0;
        }
        self.shape.iter().zip(&self.strides).map(|(size, stride)| (size - 1) * stride).sum::<usize>() + 1
    }

    /// Whether the values lie one after the other.
    pub(crate) fn is_contiguous(&self) -> bool {
        if self.count() == 0 {
            return true;
        }
        let mut expected = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(size, stride)| {
            let fits = *size == 1 || *stride == expected;
            expected *= size;
            fits
        })
    }

    /// Says why this is no view of its storage.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { storage, offset, shape, strides } = self;
        let told = || format!("a tensor of shape {shape:?}, strides {strides:?} and offset {offset}");
        if shape.len() > MAX_AXES {
            return Err(format!("a tensor has {} axes, but PyTorch allows {MAX_AXES}", shape.len()));
        }
        if shape.len() != strides.len() {
            return Err(format!("{} has not as many strides as axes", told()));
        }
        let product = |sizes: &[usize]| sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        let count = product(shape).filter(|count| *count <= storage.count);
        let last = match shape.contains(&0) {
            true => Some(0),
            false => shape.iter().zip(strides).try_fold(1usize, |sum, (size, stride)| {
                (size - 1).checked_mul(*stride).and_then(|distance| sum.checked_add(distance))
            }),
        };
        let end = last.and_then(|last| last.checked_add(*offset));
        match count.is_some() && end.is_some_and(|end| end <= storage.count) {
            true => Ok(()),
            false => Err(format!("{} does not fit into a storage of {} values", told(), storage.count)),
        }
    }
}

/// All objects of a pickle.
#[derive(Debug, Default)]
pub(crate) struct Objects(Vec<Object>);

impl Objects {
    pub(super) fn add(&mut self, object: Object) -> Result<Id, Fault> {
        if self.0.len() == MAX_OBJECTS {
            return Err(Fault::Refused(format!("more than {MAX_OBJECTS} objects")));
        }
        self.0.push(object);
        Ok(self.0.len() - 1)
    }

    /// All storages that are named.
    pub(crate) fn storages(&self) -> impl Iterator<Item = &StorageRef> {
        self.0.iter().filter_map(|object| match object {
            Object::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Object {
        &mut self.0[id]
    }

    pub(crate) fn text(&self, id: Id) -> Option<&str> {
        match &self[id] {
            Object::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number that is not negative.
    pub(crate) fn size(&self, id: Id) -> Option<usize> {
        match self[id] {
            Object::Int(number) => usize::try_from(number).ok(),
            _ => None,
        }
    }

    /// Several of them, as a tuple or a list.
    pub(crate) fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        match &self[id] {
            Object::Tuple(items) | Object::List(items) => items.iter().map(|item| self.size(*item)).collect(),
            _ => None,
        }
    }

    /// What an object is, for an error.
    pub(crate) fn name(&self, id: Id) -> &'static str {
        match &self[id] {
            Object::None => "None",
            Object::Bool(_) => "a truth value",
            Object::Int(_) => "a whole number",
            Object::Text(_) => "a text",
            Object::Tuple(_) => "a tuple",
            Object::List(_) => "a list",
            Object::Dict(_) => "a dictionary",
            Object::Global(_) => "a function or class",
            Object::Storage(_) => "a bare storage",
            Object::Tensor(_) => "a tensor",
            Object::Other(name) => name,
        }
    }
}

impl Index<Id> for Objects {
    type Output = Object;

    fn index(&self, id: Id) -> &Object {
        // Ids are made by `add` alone, and objects are never removed.
        &self.0[id]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(count: usize, offset: usize, shape: &[usize], strides: &[usize]) -> TensorView {
        let storage = StorageRef { dtype: Dtype::F32, key: "0".into(), count };
        TensorView { storage, offset, shape: shape.into(), strides: strides.into() }
    }

    #[test]
    fn views_within_their_storage_are_told_from_others() {
        for (view, contiguous, span) in [
            (view(6, 0, &[2, 3], &[3, 1]), true, 6),
            (view(6, 0, &[3, 2], &[1, 3]), false, 6),
            (view(6, 4, &[2], &[1]), true, 2),
            (view(6, 5, &[], &[]), true, 1),
            (view(6, 0, &[1, 6], &[999, 1]), true, 6),
            (view(0, 0, &[0, 4], &[4, 1]), true, 0),
        ] {
            assert_eq!(view.check(), Ok(()), "{view:?}");
            assert_eq!((view.is_contiguous(), view.span()), (contiguous, span), "{view:?}");
        }
        let huge = usize::MAX;
        for view in [
            view(6, 1, &[2, 3], &[3, 1]),
            view(6, 0, &[7], &[0]),
            view(6, 0, &[2], &[6]),
            view(6, 0, &[2], &[huge]),
            view(6, huge, &[2], &[1]),
            view(6, 0, &[huge, 2], &[0, 0]),
            view(6, 0, &[2], &[1, 1]),
            view(6, 7, &[0], &[1]),
        ] {
            assert!(view.check().is_err(), "{view:?}");
        }
    }
}
