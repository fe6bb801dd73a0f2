//! Python's pickles, as far as PyTorch needs them for named tensors. Nothing of a pickle is ever run: of the globals that a
//! pickle may name, the few that make a dictionary or a tensor are done here, and any other is an error that names it.

mod machine;
mod object;
mod opcode;

pub(super) use machine::Machine;
pub(super) use object::{Id, Object, Objects, StorageRef, TensorView};

/// Why a pickle is not read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    /// It contradicts its format: the reason.
    Damaged(String),
    /// It asks for something that is not done: what.
    Refused(String),
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self::Damaged(reason)
    }
}
