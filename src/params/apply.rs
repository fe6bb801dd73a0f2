//! Where plans meet Burn: the only place that turns entries into parameter groups.

use super::{Inventory, TrainPlan};
use burn::module::{Module, ParamGroup, ParamId};
use burn::optim::GradientsParams;
use std::collections::HashSet;

/// Whether a container's name is a path segment. Enum variants are not, so that an enum of backbones has their paths.
pub(crate) fn is_container(container: &str) -> bool {
    !container.starts_with("Enum:")
}

/// Freezes and unfreezes a model's parameters and flags as planned.
pub(crate) fn apply_plan<M: Module>(plan: &TrainPlan, inventory: &Inventory, model: M) -> M {
    let ids = |active: bool| {
        let chosen = inventory.entries.iter().zip(&plan.active).filter(move |(_, is)| **is == active);
        ParamGroup::from_ids(chosen.map(|(entry, _)| ParamId::from(entry.id)).collect::<Vec<_>>())
    };
    model.freeze_group(ids(false)).unfreeze_group(ids(true))
}

/// The paths of trainable parameters that have no gradient.
pub(crate) fn missing_gradients<M: Module>(
    plan: &TrainPlan,
    inventory: &Inventory,
    model: &M,
    gradients: &GradientsParams,
) -> Vec<String> {
    struct Present<'a>(&'a GradientsParams, HashSet<u64>);
    impl burn::module::ModuleVisitor for Present<'_> {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<burn::tensor::Tensor<D>>) {
            if self.0.get::<D>(param.id).is_some() {
                self.1.insert(param.id.val());
            }
        }
    }
    let mut present = Present(gradients, HashSet::new());
    model.visit(&mut present);
    plan.rows
        .iter()
        .map(|row| &inventory.entries[row.entry])
        .filter(|entry| !present.1.contains(&entry.id))
        .map(|entry| entry.path.clone())
        .collect()
}
