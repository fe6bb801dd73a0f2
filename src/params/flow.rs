use super::{Inventory, InventoryError};
use crate::backbone::trail::{Begin, NotRepeated, StateGradients, Trail, floats, root};
use crate::backbone::{Backbone, run_stages};
use crate::nn::RandomScope;
use crate::rows::RowsExt;
use crate::train::plain_device;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor};
use std::collections::HashMap;

/// Whether stages repeat themselves, and whether the gradient of each is the same where every stage has a graph of its own:
/// gradient checkpointing rests on it.
pub(super) fn check_flow<B: Backbone>(
    backbone: &B,
    inventory: &Inventory,
    input: B::Input,
) -> Result<(), InventoryError> {
    let device = plain_device(backbone).autodiff();
    let training = backbone.clone().train();
    let wrong = |stage: usize, what: &str| InventoryError::WrongState {
        stage: inventory.stages[stage].name.clone(),
        what: what.into(),
    };
    let (trail, end) = {
        let _scope = RandomScope::new(0);
        let stages = 1..inventory.stages.len();
        Trail::walk(backbone.clone(), Begin::Input(input.clone()), stages, false, true)
    };
    let whole = in_one(&training, inventory.stages.len(), input, floats(&end), &device);
    let mut sum = GradientsAccumulator::new();
    let mut take = |found| sum.accumulate(&training, GradientsParams::from_grads(found, &training));
    let done = trail.back(&training, &device, floats(&end), &mut || (), &mut take);
    done.map_err(|NotRepeated { stage }| {
        wrong(stage, "gives another result when it runs again; what is random in it must draw from `nn::RandomScope`")
    })?;
    let (whole, parts) = (Values::of(&training, &whole), Values::of(&training, &sum.grads()));
    let least = 1e-4 * whole.0.values().map(|values| largest(values)).fold(0.0, f32::max);
    let differs = |entry: &usize| {
        let id = inventory.entries[*entry].id;
        let part = |index: usize| parts.0.get(&id).map_or(0.0, |values| values[index]);
        whole
            .0
            .get(&id)
            .is_some_and(|values| values.iter().enumerate().any(|(index, value)| (value - part(index)).abs() > least))
    };
    match (0..inventory.stages.len()).rev().find(|stage| inventory.owned[*stage].iter().any(differs)) {
        Some(stage) => {
            Err(wrong(stage, "loses gradients where stages run one by one; name every tensor of the state in `rows!`"))
        }
        None => Ok(()),
    }
}

/// Gradients of all parameters with one graph, given those of the last state.
fn in_one<B: Backbone>(
    training: &B,
    stages: usize,
    input: B::Input,
    gradients: StateGradients,
    device: &Device,
) -> GradientsParams {
    let _scope = RandomScope::new(0);
    let state = run_stages(training, 1..stages, false, training.embed(input.lift(device)));
    match root(state, gradients) {
        Some(root) => GradientsParams::from_grads(root.backward(), training),
        None => GradientsParams::new(),
    }
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

/// Gradients by parameter id.
struct Values(HashMap<u64, Vec<f32>>);

impl Values {
    fn of<M: Module>(module: &M, gradients: &GradientsParams) -> Self {
        struct Reader<'a>(&'a GradientsParams, HashMap<u64, Vec<f32>>);
        impl ModuleVisitor for Reader<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some(gradient) = self.0.get::<D>(param.id) {
                    self.1.insert(param.id.val(), gradient.into_data().iter::<f32>().collect());
                }
            }
        }
        let mut reader = Reader(gradients, HashMap::new());
        module.visit(&mut reader);
        Self(reader.1)
    }
}
