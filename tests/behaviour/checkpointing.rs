//! Gradient checkpointing changes memory and time, and nothing else.

use burn::module::{Module, ModuleDisplay, Param};
use burn::tensor::{Device, Tensor, TensorData};
use rekindle::Model;
use rekindle::backbone::{Backbone, Mixtral, Pooling, Stages};
use rekindle::cache::Cache;
use rekindle::data::DataError;
use rekindle::head::{CausalLm, DistilledClassifier, Loss, RoutedCausalLm, TaskHead};
use rekindle::objective::{Batch, Distillation, Draws, Objective};
use rekindle::optim::Sgd;
use rekindle::params::{Freeze, FreezePolicy};
use rekindle::train::{Data, Fit, Regularisation, TrainError, fit, forecast};
use serde_json::json;

use super::families::*;
use super::support::*;
use super::vision::{Images, resnet};

/// Trains with one graph and with one of a stage at a time; gives the largest difference of losses, of gradient norms, and
/// of weights, relative to how far the parameter moved.
fn differences<B, H, O>(family: &Family<B, H, O>, policy: &dyn FreezePolicy, config: &Fit) -> [f64; 3]
where
    B: Backbone,
    H: TaskHead<B::Features> + ModuleDisplay,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    let (whole, expected) = family.run(policy, config);
    let (parts, found) = family.run(policy, &Fit { gradient_checkpointing: true, ..config.clone() });
    assert_eq!(parts.cache.rows, whole.cache.rows);
    let (start, expected, found) = (weights(&(family.fresh)()), weights(&expected), weights(&found));
    let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
    let moved = |path: &String| apart(&start[path], &expected[path]);
    // Key biases of attention, which scores do not depend on, move by rounding alone.
    let least = 1e-4 * start.keys().map(moved).fold(0.0, f32::max);
    assert!(least > 0.0);
    let weight = |path: &String| f64::from(apart(&expected[path], &found[path]) / moved(path).max(least));
    let most = |a: &[f64], b: &[f64]| a.iter().zip(b).fold(0.0_f64, |most, (a, b)| most.max((a / b - 1.0).abs()));
    let weights = start.keys().map(weight).fold(0.0, f64::max);
    [most(&parts.losses, &whole.losses), most(&parts.grad_norms, &whole.grad_norms), weights]
}

fn near<B, H, O>(family: &Family<B, H, O>, policy: &dyn FreezePolicy, config: &Fit)
where
    B: Backbone,
    H: TaskHead<B::Features> + ModuleDisplay,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    let found = differences(family, policy, config);
    // Where one stage reads a state, gradients are summed in one order. What an encoder made is read by all stages of a
    // decoder, and tables of relative positions by several stages.
    let most = if family.name == "encoder-decoder" { [1e-7, 1e-6, 1e-4] } else { [0.0; 3] };
    assert!(found.iter().zip(most).all(|(found, most)| *found <= most), "{} {policy:?}: {found:?}", family.name);
}

/// Updates that are linear in the gradient.
fn steady(steps: usize) -> Fit {
    Fit { optimizer: Sgd::default().into(), clip_norm: None, seed: 11, ..fit_config(steps, 1e-2) }
}

fn trains_the_same<B, H, O>(family: &Family<B, H, O>)
where
    B: Backbone,
    H: TaskHead<B::Features> + ModuleDisplay,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    near(family, &Freeze::Nothing, &steady(4));
    near(family, &Freeze::Nothing, &Fit { accumulation: 2, batch_size: 4, ..steady(4) });
    for cache in [Cache::None, Cache::memory()] {
        near(family, &Freeze::Bottom(2), &Fit { cache, ..steady(8) });
    }
    near(family, &Freeze::Backbone, &steady(3));
    near(family, &Freeze::Gradual { epochs: 1 }, &Fit { batch_size: 16, ..steady(8) });
    let mixout = Regularisation { mixout: Some(0.3), ..Regularisation::default() };
    near(family, &Freeze::Nothing, &Fit { regularisation: mixout, ..steady(3) });
}

#[test]
fn every_family_trains_the_same() {
    each_family!(trains_the_same);
}

#[test]
fn what_reads_embeddings_again_gets_all_gradients() {
    let mut decoder = decoder();
    decoder.fresh = || Model::new(llama(), CausalLm::tied(tokenizer().vocab_size()));
    near(&decoder, &Freeze::Nothing, &steady(3));
    let mut writer = encoder_decoder();
    writer.fresh = || t5(false);
    near(&writer, &Freeze::Nothing, &steady(3));
    let body = || Model::new(bert(2, 0.1, Pooling::Mean), masked_lm(2, Pooling::Mean).head);
    let masked = Family::of("masked", body, masking(), token_rows(40));
    near(&masked, &Freeze::Nothing, &steady(3));
    // Rows of many lengths.
    near(&Family::of("ragged", || classifier(2, 0.1), task(), rows(40)), &Freeze::Nothing, &steady(4));
}

#[test]
fn statistics_of_batches_move_once() {
    let images = Family::of("resnet", resnet, Images, (0..40).collect());
    near(&images, &Freeze::Nothing, &Fit { accumulation: 2, batch_size: 8, ..steady(4) });
    near(&images, &Freeze::Bottom(1), &steady(4));
}

#[test]
fn every_kind_of_loss_is_the_same() {
    let r_drop = Regularisation { r_drop: Some(0.7), ..Regularisation::default() };
    for freeze in [Freeze::Nothing, Freeze::Bottom(2), Freeze::Backbone] {
        let with_head_dropout = || {
            let Model { backbone, head } = classifier(2, 0.1);
            Model::new(backbone, head.with_dropout(0.1))
        };
        let family = Family::of("R-Drop", with_head_dropout, task(), rows(40));
        near(&family, &freeze, &Fit { regularisation: r_drop, ..steady(3) });
    }
    let student = || {
        let Model { backbone, head } = classifier(2, 0.1);
        Model::new(backbone, DistilledClassifier::new(head, 2.0, 0.5).unwrap())
    };
    let teacher = classifier(1, 0.0);
    let distillation = Distillation::new(task(), &teacher);
    let taught = distillation.examples(rows(40), 8).unwrap();
    near(&Family::of("distillation", student, distillation, taught), &Freeze::Nothing, &steady(3));
    let routed = || {
        let config = json!({"vocab_size": tokenizer().vocab_size(), "hidden_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 12, "pad_token_id": 0,
            "num_local_experts": 3, "output_router_logits": true, "attention_dropout": 0.1});
        let head = RoutedCausalLm::new(CausalLm::tied(tokenizer().vocab_size()), 0.5);
        Model::new(build::<Mixtral>(config, Pooling::LastToken), head)
    };
    near(&Family::of("experts", routed, NextTokens, token_rows(40)), &Freeze::Nothing, &steady(3));
}

#[test]
#[cfg(target_os = "linux")]
fn a_forecast_counts_the_second_pass() {
    let family = encoder();
    let ahead = |gradient_checkpointing| {
        let data = Data { train: &family.train, validation: &[] };
        let config = Fit { gradient_checkpointing, ..steady(4) };
        forecast(&(family.fresh)(), &family.objective, data, &Freeze::Bottom(1), &config).unwrap()
    };
    let (whole, parts) = (ahead(false), ahead(true));
    // A forward and two backward products without, one forward product more with, in all but the head and what is frozen.
    let ratio = parts.operations.step / whole.operations.step;
    assert!(ratio > 1.3 && ratio < 4.0 / 3.0, "{ratio}");
    assert!(parts.memory.peak.is_some());
}

/// Two vectors, the upper of which counts twice under autodiff.
#[derive(Module, Debug)]
struct Moody {
    lower: Param<Tensor<1>>,
    upper: Param<Tensor<1>>,
}

impl Backbone for Moody {
    type Input = Tensor<2>;
    type State = Tensor<2>;
    type Features = Tensor<2>;

    fn stages(&self) -> Stages {
        Stages::new().stage("lower").stage("upper")
    }
    fn embed(&self, input: Tensor<2>) -> Tensor<2> {
        input + self.lower.val().unsqueeze()
    }
    fn stage(&self, _: usize, state: Tensor<2>) -> Tensor<2> {
        let times = if state.device().is_autodiff() { 2.0 } else { 1.0 };
        state + self.upper.val().unsqueeze() * times
    }
    fn finish(&self, state: Tensor<2>) -> Tensor<2> {
        state
    }
}

#[derive(Module, Debug)]
struct Sum {
    scale: Param<Tensor<1>>,
}

impl TaskHead<Tensor<2>> for Sum {
    type Output = Tensor<1>;
    type Targets = ();
    fn forward(&self, features: Tensor<2>) -> Tensor<1> {
        (features * self.scale.val().unsqueeze()).sum()
    }
    fn loss(&self, features: Tensor<2>, (): ()) -> Loss {
        Loss { sum: self.forward(features), weight: 1.0 }
    }
}

struct Numbers;

impl Objective for Numbers {
    type Example = f32;
    type Input = Tensor<2>;
    type Targets = ();
    fn batch(&self, examples: &[&f32], _: &Draws, device: &Device) -> Result<Batch<Tensor<2>, ()>, DataError> {
        let values: Vec<f32> = examples.iter().flat_map(|value| [**value; 3]).collect();
        Ok(Batch { input: Tensor::from_data(TensorData::new(values, [examples.len(), 3]), device), targets: () })
    }
}

#[test]
fn a_stage_that_does_not_repeat_itself_is_named() {
    let vector = || Param::from_tensor(Tensor::ones([3], &device()));
    let run = |policy: &Freeze, gradient_checkpointing| {
        let mut model = Model::new(Moody { lower: vector(), upper: vector() }, Sum { scale: vector() });
        let config = Fit { gradient_checkpointing, batch_size: 2, ..steady(2) };
        let data = Data { train: &[1.0, 2.0, 3.0, 4.0], validation: &[] };
        fit(&mut model, &Numbers, data, policy, &config, &mut [])
    };
    run(&Freeze::Nothing, false).unwrap();
    let error = run(&Freeze::Nothing, true).unwrap_err();
    assert!(matches!(&error, rekindle::Error::Train(TrainError::NotRepeated { stage }) if stage == "upper"), "{error}");
    assert!(error.to_string().contains("nn::RandomScope"), "{error}");
    // What is frozen does not run again.
    run(&Freeze::Backbone, true).unwrap();
}
