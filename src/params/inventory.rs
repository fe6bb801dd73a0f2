use super::is_container;
use crate::backbone::{Backbone, Stage, Stages};
use crate::model::Model;
use burn::module::{Flag, Module, ModuleDisplay, ModuleVisitor, Param, ParamId};
use burn::tensor::{Bool, Int, Tensor};
use std::collections::HashMap;
use thiserror::Error;

/// What an entry of the inventory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A weight.
    Weight,
    /// A bias.
    Bias,
    /// Scale or shift of a normalisation layer.
    Norm,
    /// A table of vectors.
    Embedding,
    /// State that is not trained: running statistics, fixed tables, integer and boolean tensors.
    Buffer,
    /// A module's switch for its behaviour while training, such as dropout's.
    Flag,
}

impl Kind {
    /// Whether it can train.
    pub fn is_trainable(self) -> bool {
        matches!(self, Self::Weight | Self::Bias | Self::Norm | Self::Embedding)
    }

    /// Whether weight decay applies to it by default: not to biases and normalisation layers.
    pub fn decays(self) -> bool {
        matches!(self, Self::Weight | Self::Embedding)
    }
}

/// One parameter, buffer or flag of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Identity within the process.
    pub id: u64,
    /// `backbone.encoder.layer.0.output.weight`.
    pub path: String,
    /// Sizes of its axes.
    pub shape: Vec<usize>,
    /// What it is.
    pub kind: Kind,
    /// The first stage that owns it; `None` for the head.
    pub stage: Option<usize>,
    /// Whether it is a linear layer's weight, `[in, out]` here and `[out, in]` in files.
    pub is_linear: bool,
    /// Whether it holds floats, and so is stored in checkpoints.
    pub is_float: bool,
}

impl Entry {
    /// The number of values.
    pub fn size(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it is stored and not trained: running statistics.
    pub(crate) fn is_buffer(&self) -> bool {
        self.is_float && self.kind == Kind::Buffer
    }

    /// Whether it is added rather than multiplied: a bias, or the shift of a normalisation layer.
    pub fn is_bias(&self) -> bool {
        let name = self.path.rsplit('.').next().unwrap_or_default();
        // Burn calls the shift `beta`, PyTorch `bias`.
        self.kind == Kind::Bias || self.kind == Kind::Norm && matches!(name, "bias" | "beta" | "shift")
    }

    /// The path of the module it belongs to.
    pub fn module(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(module, _)| module)
    }
}

/// Every parameter of a model once, and the stages that own them.
#[derive(Clone, Debug)]
pub struct Inventory {
    /// In the order in which the model visits them.
    pub entries: Vec<Entry>,
    /// The backbone's stages.
    pub stages: Stages,
    /// For each stage the entries it owns.
    pub owned: Vec<Vec<usize>>,
    /// The backbone's type, for messages.
    pub backbone: String,
}

/// Why a model has no sound inventory.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum InventoryError {
    /// One parameter in two places.
    #[error(
        "`{first}` and `{second}` are one parameter (a cloned module keeps its ids); keep one and read it from both places"
    )]
    Shared {
        /// Where it was first seen.
        first: String,
        /// Where it was seen again.
        second: String,
    },
    /// A parameter that no stage reads.
    #[error("no stage owns `{path}`; add its module to `Backbone::stages`, which names: {stages}")]
    Unowned {
        /// The parameter.
        path: String,
        /// Names of all stages.
        stages: String,
    },
    /// A stage names a path without parameters.
    #[error("stage `{stage}` owns `{path}`, where there is no parameter; correct the path in `Backbone::stages`")]
    EmptyPath {
        /// The stage.
        stage: String,
        /// What it names.
        path: String,
    },
    /// A stage reads one that does not run before it.
    #[error("stage `{stage}` reads stage {read}, which does not run before it; correct `Backbone::stages`")]
    BadRead {
        /// The stage.
        stage: String,
        /// The index it reads.
        read: usize,
    },
    /// A stage's result does not depend on what it says.
    #[error("stage `{stage}` {what}; correct `Backbone::stages`")]
    WrongStage {
        /// The stage.
        stage: String,
        /// What was seen.
        what: String,
    },
    /// A stage, or the state that it makes, cannot be run in parts.
    #[error("stage `{stage}` {what}")]
    WrongState {
        /// The stage.
        stage: String,
        /// What was seen, and the mend.
        what: String,
    },
}

impl Inventory {
    /// Lists a model's parameters and checks that the backbone's stages cover them.
    ///
    /// # Errors
    /// [`InventoryError`] names the parameter or the stage.
    pub fn of<B: Backbone, H: Module + ModuleDisplay>(model: &Model<B, H>) -> Result<Self, InventoryError> {
        let mut entries = list(model);
        check_unique(&entries)?;
        let stages = model.backbone.stages();
        let owned = assign(&mut entries, &stages)?;
        Ok(Self { entries, stages, owned, backbone: type_name::<B>() })
    }

    /// The paths of what can train.
    pub fn trainable_paths(&self) -> impl Iterator<Item = &str> + Clone {
        self.entries.iter().filter(|entry| entry.kind.is_trainable()).map(|entry| entry.path.as_str())
    }

    /// The names of all stages, for messages.
    pub(super) fn stage_names(&self) -> String {
        self.stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The stages that are the first to own something that can train.
    pub(super) fn stages_with_parameters(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        let has = |stage: &usize| self.entries.iter().any(|e| e.stage == Some(*stage) && e.kind.is_trainable());
        (0..self.stages.len()).filter(has)
    }

    /// The stage that owns an entry, or `head`.
    pub fn group_name(&self, entry: &Entry) -> &str {
        entry.stage.and_then(|stage| self.stages.get(stage)).map_or("head", |stage| &stage.name)
    }
}

/// The name of a type without the modules around it and without its parameters.
fn type_name<T>() -> String {
    let name = std::any::type_name::<T>().split('<').next().unwrap_or_default();
    name.rsplit("::").next().unwrap_or_default().into()
}

/// Lists every entry of a module, no stage assigned.
pub(crate) fn list<M: Module>(module: &M) -> Vec<Entry> {
    let mut lister = Lister::default();
    module.visit(&mut lister);
    lister.entries
}

fn check_unique(entries: &[Entry]) -> Result<(), InventoryError> {
    let mut seen = HashMap::new();
    for entry in entries.iter().filter(|entry| entry.kind.is_trainable()) {
        if let Some(first) = seen.insert(entry.id, &entry.path) {
            return Err(InventoryError::Shared { first: first.clone(), second: entry.path.clone() });
        }
    }
    Ok(())
}

fn assign(entries: &mut [Entry], stages: &Stages) -> Result<Vec<Vec<usize>>, InventoryError> {
    let mut owned = vec![vec![]; stages.len()];
    for (index, entry) in entries.iter_mut().enumerate() {
        let Some(path) = entry.path.strip_prefix("backbone.") else { continue };
        let owners = |stage: &&(usize, &Stage)| stage.1.owns.iter().any(|own| is_under(path, own));
        let all: Vec<_> = stages.iter().enumerate().collect();
        let owners: Vec<usize> = all.iter().filter(owners).map(|(stage, _)| *stage).collect();
        entry.stage = owners.first().copied();
        if owners.is_empty() {
            let names: Vec<_> = stages.iter().map(|stage| stage.name.as_str()).collect();
            return Err(InventoryError::Unowned { path: entry.path.clone(), stages: names.join(", ") });
        }
        owners.into_iter().for_each(|stage| owned[stage].push(index));
    }
    for (index, stage) in stages.iter().enumerate() {
        let named = |own: &&String| {
            !entries.iter().any(|entry| entry.path.strip_prefix("backbone.").is_some_and(|path| is_under(path, own)))
        };
        if let Some(path) = stage.owns.iter().find(named) {
            return Err(InventoryError::EmptyPath { stage: stage.name.clone(), path: path.clone() });
        }
        if let Some(read) = stage.reads.iter().find(|read| **read >= index) {
            return Err(InventoryError::BadRead { stage: stage.name.clone(), read: *read });
        }
    }
    Ok(owned)
}

/// Whether `path` is `module` or inside it, by whole segments: `layer.1` does not contain `layer.10`.
fn is_under(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[derive(Default)]
struct Lister {
    path: Vec<String>,
    containers: Vec<String>,
    entries: Vec<Entry>,
}

impl Lister {
    fn put(&mut self, id: ParamId, shape: Vec<usize>, kind: Kind, is_float: bool) {
        let in_linear = self.containers.last().is_some_and(|container| container == "Linear");
        let path = self.path.join(".");
        let is_linear = in_linear && shape.len() == 2 && path.ends_with("weight");
        self.entries.push(Entry { id: id.val(), path, shape, kind, stage: None, is_linear, is_float });
    }

    fn kind(&self, rank: usize) -> Kind {
        let container = self.containers.last().map_or("", String::as_str);
        let leaf = self.path.last().map_or("", String::as_str);
        match leaf {
            _ if leaf.starts_with("running_") || container == "Buffer" => Kind::Buffer,
            _ if container.contains("Norm") || leaf == "gamma" || leaf == "beta" => Kind::Norm,
            _ if container.contains("Embedding") && rank == 2 => Kind::Embedding,
            _ if leaf == "bias" || leaf.ends_with("_bias") => Kind::Bias,
            _ => Kind::Weight,
        }
    }
}

impl ModuleVisitor for Lister {
    fn enter_module(&mut self, name: &str, container: &str) {
        if is_container(container) {
            self.path.push(name.into());
        }
        self.containers.push(container.rsplit(':').next().unwrap_or(container).into());
    }
    fn exit_module(&mut self, _: &str, container: &str) {
        if is_container(container) {
            self.path.pop();
        }
        self.containers.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.put(param.id, param.lazy_shape().as_slice().to_vec(), self.kind(D), true);
    }
    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.put(param.id, param.lazy_shape().as_slice().to_vec(), Kind::Buffer, false);
    }
    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.put(param.id, param.lazy_shape().as_slice().to_vec(), Kind::Buffer, false);
    }
    fn visit_flag(&mut self, flag: &Param<Flag>) {
        self.put(flag.id, vec![], Kind::Flag, false);
    }
}
