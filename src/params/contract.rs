use super::flow::check_flow;
use super::{Inventory, InventoryError};
use crate::backbone::Backbone;
use crate::model::Model;
use crate::nn::Init;
use crate::rows::{Record, RowsExt};
use burn::module::{Module, ModuleDisplay, ModuleMapper, Param};
use burn::tensor::Tensor;
use std::collections::HashSet;

/// The contract that every backbone keeps: each stage changes with the parameters it owns and with no others.
///
/// Runs every stage with only the stages it says it reads, then with all other parameters changed (the bytes must stay),
/// with its own changed (they must not), and after the stages it does not read (what it makes must stay). Gradients that are
/// handed from stage to stage must be those of one graph. Freezing, caching and gradient checkpointing rest on this; call it
/// in a test of your backbone.
///
/// # Errors
/// [`InventoryError`] names the stage that breaks it.
pub fn check_stages<B: Backbone, H: Module + ModuleDisplay>(
    model: &Model<B, H>,
    input: B::Input,
) -> Result<(), InventoryError> {
    let inventory = Inventory::of(model)?;
    let backbone = model.backbone.valid();
    for (index, stage) in inventory.stages.iter().enumerate() {
        let needed = needed_stages(&inventory, index);
        let run = |backbone: &B| run_stages(backbone, &needed, index, input.clone());
        let shaken = |ids: &HashSet<u64>| run(&shake(&backbone, ids));
        let ids = |entries: &[usize]| -> HashSet<u64> { entries.iter().map(|e| inventory.entries[*e].id).collect() };
        let own = ids(&inventory.owned[index]);
        let inside: HashSet<u64> =
            (0..=index).filter(|stage| needed[*stage]).flat_map(|stage| ids(&inventory.owned[stage])).collect();
        let outside = inventory.entries.iter().map(|entry| entry.id).filter(|id| !inside.contains(id)).collect();
        let expected = run(&backbone);
        let wrong = |what: &str| InventoryError::WrongStage { stage: stage.name.clone(), what: what.into() };
        if shaken(&outside) != expected {
            return Err(wrong("reads parameters that it does not own"));
        }
        if !own.is_empty() && shaken(&own) == expected {
            return Err(wrong("does not use the parameters that it owns"));
        }
        if needed[..index].contains(&false) && reads_more(&backbone, &needed, index, input.clone()) {
            return Err(wrong("reads what a stage made that is not among its `reads`"));
        }
    }
    check_flow(&backbone, &inventory, input)
}

/// Whether what a stage makes changes when the stages that it does not read run before it.
fn reads_more<B: Backbone>(backbone: &B, needed: &[bool], index: usize, input: B::Input) -> bool {
    let all = vec![true; needed.len()];
    let before = run_stages(backbone, needed, index - 1, input.clone());
    let alone = run_stages(backbone, needed, index, input.clone());
    let after_all = run_stages(backbone, &all, index, input);
    let differs = |((before, alone), after_all): ((&Record, &Record), &Record)| {
        let made = before.tensors().iter().zip(alone.tensors()).map(|(before, alone)| before != alone);
        // A stage that adds an optional tensor moves the others, so that they cannot be told apart by place.
        let same_places = before.tensors().len() == after_all.tensors().len();
        let pairs = alone.tensors().iter().zip(after_all.tensors());
        same_places && made.zip(pairs).any(|(made, (alone, after_all))| made && alone != after_all)
    };
    before.iter().zip(&alone).zip(&after_all).any(differs)
}

fn needed_stages(inventory: &Inventory, index: usize) -> Vec<bool> {
    let mut needed = vec![false; inventory.stages.len()];
    needed[index] = true;
    needed[0] = true;
    for stage in (0..=index).rev().filter(|stage| *stage > 0) {
        if needed[stage] {
            inventory.stages[stage].reads.iter().for_each(|read| needed[*read] = true);
        }
    }
    needed
}

fn run_stages<B: Backbone>(backbone: &B, needed: &[bool], last: usize, input: B::Input) -> Vec<Record> {
    let stages = (1..=last).filter(|stage| needed[*stage]);
    stages.fold(backbone.embed(input), |state, stage| backbone.stage(stage, state)).encode()
}

/// A deep copy with the given parameters changed. (A clone would share running statistics with the original.)
fn shake<B: Backbone>(backbone: &B, ids: &HashSet<u64>) -> B {
    backbone.valid().map(&mut Shaker { ids, init: None })
}

struct Shaker<'a> {
    ids: &'a HashSet<u64>,
    init: Option<Init>,
}

impl ModuleMapper for Shaker<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !self.ids.contains(&param.id.val()) {
            return param;
        }
        let device = param.val().device();
        let init = self.init.get_or_insert_with(|| Init::new(0, 0.5, &device));
        param.map(|tensor| {
            let noise = init.normal(tensor.dims());
            tensor * 1.5 + 0.25 + noise
        })
    }
}
