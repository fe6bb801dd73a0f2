//! Gradients beside weights, before a run: what [`Freeze::Surgical`] chooses by.

use super::evaluate::plain_device;
use super::pass::Graph;
use super::step::{Forward, Gradients, Place};
use super::{Data, Fit, TrainError};
use crate::backbone::Backbone;
use crate::data::BatchOrder;
use crate::error::Error;
use crate::head::TaskHead;
use crate::model::Model;
use crate::objective::Objective;
use crate::optim::GradientNorms;
use crate::params::{
    Freeze, FreezePolicy, Inventory, Kind, Progress, Rates, RelativeGradient, RelativeGradients, TrainPlan, apply_plan,
};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use std::collections::HashMap;

/// `fit` measures on this many of its first examples, or a few more to fill a batch: enough that one odd example does
/// not choose, at the price of a few steps.
const EXAMPLES: usize = 128;

/// Measures, for every parameter, the norm of the gradient of the mean loss on `examples` beside the norm of its values
/// ([Lee et al., 2023](https://arxiv.org/abs/2210.11466)). Everything trains for that, whatever was frozen, and dropout
/// is off; the model is not changed. What the objective draws is a function of `seed`.
///
/// # Errors
/// An example without a label, an input that the backbone cannot read, no examples, a loss that is not finite.
pub fn relative_gradients<B, H, O>(
    model: &Model<B, H>,
    objective: &O,
    examples: &[O::Example],
    batch_size: usize,
    seed: u64,
) -> Result<RelativeGradients, Error>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    if examples.is_empty() {
        return Err(TrainError::NoData { set: "probe" }.into());
    }
    let indices: Vec<usize> = (0..examples.len()).collect();
    let batches: Vec<Vec<usize>> = indices.chunks(batch_size.max(1)).map(<[usize]>::to_vec).collect();
    measure(model, objective, examples, &batches, seed, Graph::Whole)
}

/// The plan that [`fit`](super::fit) would begin with; the gradients that the policy needs are measured.
///
/// # Errors
/// As [`fit`](super::fit) before its first step.
pub fn first_plan<B, H, O>(
    model: &Model<B, H>,
    objective: &O,
    data: &Data<'_, O::Example>,
    policy: &dyn FreezePolicy,
    config: &Fit,
) -> Result<TrainPlan, Error>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    config.check(H::COUPLED)?;
    let gradients = match policy.needs_gradients() {
        false => None,
        true if data.train.is_empty() => return Err(TrainError::NoData { set: "training" }.into()),
        true => {
            let lengths: Vec<usize> = data.train.iter().map(|example| objective.length(example)).collect();
            let Fit { batch_size, seed, bucket, .. } = *config;
            let batches = BatchOrder { batch_size, seed, shuffle: true, bucket }.batches(&lengths, 0);
            Some(measure(model, objective, data.train, probe_batches(&batches), seed, Graph::of(config, false))?)
        }
    };
    let at = Progress { gradients: gradients.as_ref(), ..Progress::default() };
    Ok(TrainPlan::new(&Inventory::of(model)?, policy, &config.rates, at)?)
}

/// The first of an epoch's batches, as many as `fit` measures on.
pub(super) fn probe_batches(batches: &[Vec<usize>]) -> &[Vec<usize>] {
    let mut seen = 0;
    let enough = batches.iter().position(|batch| {
        seen += batch.len();
        seen >= EXAMPLES
    });
    &batches[..enough.map_or(batches.len(), |last| last + 1)]
}

pub(super) fn measure<B, H, O>(
    model: &Model<B, H>,
    objective: &O,
    examples: &[O::Example],
    batches: &[Vec<usize>],
    seed: u64,
    graph: Graph,
) -> Result<RelativeGradients, Error>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    let inventory = Inventory::of(model)?;
    let mut plan = TrainPlan::new(&inventory, &Freeze::Nothing, &Rates::new(1.0), Progress::default())?;
    // Dropout would make the measure a matter of chance, and batch norm would move its running statistics.
    let flags = inventory.entries.iter().zip(&mut plan.active).filter(|(entry, _)| entry.kind == Kind::Flag);
    flags.for_each(|(_, active)| *active = false);
    let copy = apply_plan(&plan, &inventory, model.valid());
    let training = copy.clone().train();
    let forward = Forward {
        snapshot: &copy,
        training: &training,
        plain: &vec![false; inventory.stages.len()],
        cache: None,
        objective,
        examples,
        device: &plain_device(model).autodiff(),
        r_drop: None,
        graph,
    };
    let Gradients { summed, weight, .. } = forward.gradients(batches, Place { seed, epoch: 0, step: 0 })?;
    let norms = GradientNorms::of(&training, &summed);
    if let Some(parameter) = norms.not_finite() {
        let examples = batches.concat();
        return Err(TrainError::GradientNotFinite {
            step: 1,
            epoch: 1,
            good: 0,
            parameter: parameter.into(),
            examples,
        }
        .into());
    }
    let gradients: HashMap<String, f64> = norms.by_path.into_iter().collect();
    let mut weights = Norms(HashMap::new());
    copy.visit(&mut weights);
    let parameters = inventory.entries.iter().filter(|entry| entry.kind.is_trainable());
    let parameters = parameters.map(|entry| RelativeGradient {
        name: entry.path.clone(),
        group: inventory.group_name(entry).into(),
        gradient: gradients.get(&entry.path).map_or(0.0, |norm| norm / weight),
        weight: weights.0.get(&entry.id).copied().unwrap_or(0.0),
    });
    Ok(RelativeGradients { parameters: parameters.collect() })
}

/// The L2 norm of each parameter by id, summed in f64 on the host.
struct Norms(HashMap<u64, f64>);

impl ModuleVisitor for Norms {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let values = param.val().into_data();
        let squares = values.iter::<f32>().map(|value| f64::from(value) * f64::from(value));
        self.0.insert(param.id.val(), squares.sum::<f64>().sqrt());
    }
}
