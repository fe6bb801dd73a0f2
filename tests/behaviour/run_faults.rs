//! Runs that cannot start, and runs that stop: what is named, and which weights stay.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};
use rekindle::backbone::{Bert, Pooled, Pooling, TextFeatures, TextInput};
use rekindle::checkpoint::load_weights;
use rekindle::data::{DataError, TokenRow};
use rekindle::head::{Loss, Pretraining, PretrainingTargets, TaskHead};
use rekindle::nn::{Init, Linear, linear};
use rekindle::objective::{Batch, Draws, MaskedLanguage, Objective};
use rekindle::optim::{Adafactor, AdamW, Averaging, EmaForm, Lion, NormType, Schedule, Sgd, Start, Warmup};
use rekindle::params::{Freeze, FreezeError, FreezePolicy, GroupRule, Inventory, Progress};
use rekindle::train::{Data, Fit, Monitor, TrainError, fit};
use rekindle::{Error, Model};

use super::support::*;

fn train<H>(model: &mut Model<Bert, H>, policy: &dyn FreezePolicy, config: &Fit) -> TrainError
where
    H: TaskHead<TextFeatures, Targets = Tensor<1, Int>>,
{
    let rows = rows(16);
    let data = Data { train: &rows, validation: &rows[..4] };
    match fit(model, &task(), data, policy, config, &mut []).unwrap_err() {
        Error::Train(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn options_that_mean_nothing_are_refused_by_name() {
    let rates = |change: &dyn Fn(&mut Fit)| {
        let mut config = Fit::default();
        change(&mut config);
        config
    };
    let rule = |lr, weight_decay| GroupRule { select: "head".parse().unwrap(), lr, weight_decay };
    let adamw = |adamw: AdamW| Fit { optimizer: adamw.into(), ..Fit::default() };
    let mut cases: Vec<(&str, Fit)> = vec![
        ("epochs", Fit { epochs: 0, ..Fit::default() }),
        ("batch_size", Fit { batch_size: 0, ..Fit::default() }),
        ("accumulation", Fit { accumulation: 0, ..Fit::default() }),
        ("max_steps", Fit { max_steps: Some(0), ..Fit::default() }),
        ("eval_every", Fit { eval_every: Some(0), ..Fit::default() }),
        ("patience", Fit { patience: Some(0), ..Fit::default() }),
        ("lr", rates(&|config| config.rates.groups = vec![rule(Some(-1.0), None)])),
        ("weight_decay", rates(&|config| config.rates.groups = vec![rule(None, Some(-1.0))])),
    ];
    for lr in [0.0, -1e-3, f64::NAN, f64::INFINITY, 1e39] {
        cases.push(("lr", rates(&|config| config.rates.lr = lr)));
    }
    for decay in [-0.1, f64::NAN, f64::INFINITY] {
        cases.push(("weight_decay", rates(&|config| config.rates.weight_decay = decay)));
    }
    for decay in [0.0, 1.1, f64::NAN] {
        cases.push(("layer_decay", rates(&|config| config.rates.layer_decay = Some(decay))));
    }
    for norm in [0.0, -1.0, f64::NAN] {
        cases.push(("clip_norm", Fit { clip_norm: Some(norm), ..Fit::default() }));
    }
    for value in [0.0, -0.4, f64::NAN] {
        cases.push(("clip_value", Fit { clip_value: Some(value), ..Fit::default() }));
    }
    for p in [0.5, -1.0, f64::NAN, f64::INFINITY] {
        cases.push(("clip_norm_type", Fit { clip_norm_type: NormType::P(p), ..Fit::default() }));
    }
    for averaging in [
        Averaging::ema(1.0),
        Averaging::ema(f64::NAN),
        Averaging::Ema { decay: 0.9, form: EmaForm::Power(0.0) },
        Averaging::Swa { start: Start::Step(3), every: 0 },
        Averaging::Last { count: 0, every: 1 },
        // A run of 3 epochs that never gets there.
        Averaging::Swa { start: Start::Epoch(3), every: 1 },
    ] {
        cases.push(("averaging", Fit { averaging: Some(averaging), ..Fit::default() }));
    }
    for sgd in [
        Sgd { momentum: 1.0, ..Sgd::default() },
        Sgd { momentum: f64::NAN, ..Sgd::default() },
        Sgd { momentum: 0.9, dampening: 1.5, ..Sgd::default() },
        Sgd { nesterov: true, ..Sgd::default() },
        Sgd { momentum: 0.9, dampening: 0.1, nesterov: true },
    ] {
        cases.push(("optimizer", Fit { optimizer: sgd.into(), ..Fit::default() }));
    }
    let adafactor = Adafactor { relative_step: false, ..Adafactor::default() };
    for adafactor in [
        Adafactor { warmup_init: true, ..adafactor },
        Adafactor { eps: (0.0, 1e-3), ..adafactor },
        Adafactor { decay_rate: 0.8, ..adafactor },
        Adafactor { beta1: Some(1.0), ..adafactor },
        Adafactor { clip_threshold: f64::NAN, ..adafactor },
    ] {
        cases.push(("optimizer", Fit { optimizer: adafactor.into(), ..Fit::default() }));
    }
    cases.push(("optimizer", Fit { optimizer: Lion { betas: (0.9, 1.0) }.into(), ..Fit::default() }));
    cases.push(("lr", Fit { optimizer: Adafactor::default().into(), ..Fit::default() }));
    cases.push(("optimizer", adamw(AdamW { eps: 1e300, ..AdamW::default() })));
    for betas in [(1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (0.9, f64::NAN), (0.9, 0.999_999_999_99)] {
        cases.push(("optimizer", adamw(AdamW { betas, ..AdamW::default() })));
    }
    for eps in [0.0, -1e-8, 1e-60, f64::NAN] {
        cases.push(("optimizer", adamw(AdamW { eps, ..AdamW::default() })));
    }
    let mut model = classifier(1, 0.0);
    let before = bits(&model);
    for (name, config) in cases {
        let error = train(&mut model, &Freeze::Nothing, &config);
        assert!(matches!(error, TrainError::BadOption { option, .. } if option == name), "{name}: {error}");
    }
    for ratio in [-0.1, 1.1, f64::NAN] {
        let config = Fit { schedule: Schedule::Linear { warmup: Warmup::Ratio(ratio) }, ..Fit::default() };
        assert!(matches!(train(&mut model, &Freeze::Nothing, &config), TrainError::Schedule(_)), "{ratio}");
    }
    assert!(bits(&model) == before);
}

#[test]
fn no_examples_are_refused() {
    let mut model = classifier(1, 0.0);
    let data = Data { train: &[], validation: &[] };
    let error = fit(&mut model, &task(), data, &Freeze::Nothing, &fit_config(1, 1e-3), &mut []).unwrap_err();
    assert!(matches!(error, Error::Train(TrainError::NoData { set: "training" })));
    assert!(rekindle::train::evaluate(&model, &task(), &[], 8, 0).is_err());
}

#[test]
fn a_figure_that_the_head_does_not_give_is_refused() {
    let (mut model, rows) = (masked_lm(1, Pooling::Mean), token_rows(16));
    let config = Fit { monitor: Monitor::MacroF1, ..fit_config(1, 1e-3) };
    let data = Data { train: &rows, validation: &rows };
    let error = fit(&mut model, &masking(), data, &Freeze::Nothing, &config, &mut []).unwrap_err();
    assert!(matches!(error, Error::Train(TrainError::NoSuchFigure { .. })), "{error}");
}

/// Runs with a folder until the error; the model must hold `last.safetensors`, all finite.
fn diverges(policy: &Freeze, lr: f64) -> TrainError {
    let (folder, mut model) = (temporary(), classifier(2, 0.0));
    let config = Fit { folder: Some(folder.path().into()), eval_every: Some(100), ..fit_config(50, lr) };
    let error = train(&mut model, policy, &config);
    assert!(weights(&model).values().flatten().all(|value| value.is_finite()), "{error}");
    let last = load_weights(&classifier(2, 0.0), folder.path().join("last.safetensors")).unwrap();
    assert!(bits(&last) == bits(&model), "{error}");
    error
}

#[test]
fn a_run_that_diverges_keeps_the_last_finite_weights() {
    for (policy, lr) in
        [(Freeze::Nothing, 1e30), (Freeze::Backbone, 1e30), (Freeze::Backbone, 3e38), (Freeze::Bottom(1), 1e25)]
    {
        let (step, good, examples) = match diverges(&policy, lr) {
            TrainError::LossNotFinite { step, good, examples, .. }
            | TrainError::GradientNotFinite { step, good, examples, .. }
            | TrainError::WeightNotFinite { step, good, examples, .. } => (step, good, examples),
            other => panic!("{other}"),
        };
        assert_eq!(good + 1, step, "{policy:?} {lr}");
        assert!(step <= 5 && examples.len() == 8 && examples.iter().all(|index| *index < 16), "{policy:?} {lr}");
    }
}

#[test]
fn a_planted_nan_stops_the_first_step_and_names_its_examples() {
    let mut model = plant(classifier(2, 0.0), "backbone.encoder.layer.1.output.bias", f32::NAN);
    for policy in [Freeze::Nothing, Freeze::Backbone] {
        let before = bits(&model);
        let error = train(&mut model, &policy, &fit_config(3, 1e-3));
        let TrainError::LossNotFinite { step: 1, epoch: 1, good: 0, examples, .. } = &error else { panic!("{error}") };
        assert_eq!(examples.len(), 8);
        assert!(error.to_string().contains("step 1") && bits(&model) == before);
    }
}

#[test]
fn a_validation_that_is_not_finite_keeps_the_weights_of_its_step() {
    // The embedding of padding, at the table's start, holds the NaN; only a validation row reads it.
    let (folder, calm) = (temporary(), equal_rows(16));
    let mut rare = [calm[0].clone()];
    rare[0].row.ids[1] = 0;
    let mut model = plant(classifier(1, 0.0), "backbone.embeddings.word_embeddings.weight", f32::NAN);
    let config = Fit { eval_every: Some(2), folder: Some(folder.path().into()), ..fit_config(6, 1e-3) };
    let data = Data { train: &calm, validation: &rare };
    let error = fit(&mut model, &task(), data, &Freeze::Bottom(1), &config, &mut []).unwrap_err();
    assert!(matches!(error, Error::Train(TrainError::EvaluationNotFinite { step: 2 })), "{error}");
    assert!(folder.path().join("last.safetensors").is_file());
    let head = rekindle::checkpoint::Tensors::open_file(folder.path().join("last.safetensors")).unwrap();
    assert_eq!(head.f32("head.linear.weight").unwrap(), weights(&model)["head.linear.weight"]);
}

/// A head whose loss is finite and whose gradient is not: the root of 0.
#[derive(Module, Debug)]
struct Rooted {
    linear: Linear,
    zero: Param<Tensor<1>>,
}

impl TaskHead<TextFeatures> for Rooted {
    type Output = Tensor<2>;
    type Targets = Tensor<1, Int>;
    fn forward(&self, features: TextFeatures) -> Tensor<2> {
        linear(&self.linear, features.pooled())
    }
    fn loss(&self, features: TextFeatures, targets: Tensor<1, Int>) -> Loss {
        let rows = targets.dims()[0] as f64;
        Loss { sum: self.forward(features).sum() + self.zero.val().sqrt().sum(), weight: rows }
    }
}

#[test]
fn a_gradient_that_is_not_finite_names_its_parameter() {
    let linear = Init::new(1, 0.02, &device()).linear(32, 4);
    let head = Rooted { linear, zero: Param::from_tensor(Tensor::zeros([2], &device())) };
    let mut model = Model::new(bert(1, 0.0, Pooling::Mean), head);
    let before = bits(&model);
    let error = train(&mut model, &Freeze::Nothing, &Fit { eval_every: Some(9), ..fit_config(3, 1e-3) });
    let TrainError::GradientNotFinite { step: 1, parameter, .. } = &error else { panic!("{error}") };
    assert_eq!(parameter, "head.zero");
    assert!(bits(&model) == before);
}

/// Changes its mind about the number of parameters after the first epoch.
#[derive(Debug)]
struct Fickle;

impl FreezePolicy for Fickle {
    fn trainable(&self, inventory: &Inventory, at: Progress) -> Result<Vec<bool>, FreezeError> {
        Ok(vec![true; inventory.entries.len() - at.epoch])
    }
}

#[test]
fn a_policy_that_fails_later_leaves_the_weights_so_far() {
    let (folder, mut model, rows) = (temporary(), classifier(1, 0.0), rows(16));
    let config = Fit { folder: Some(folder.path().into()), ..fit_config(6, 1e-3) };
    let data = Data { train: &rows, validation: &[] };
    let error = fit(&mut model, &task(), data, &Fickle, &config, &mut []).unwrap_err();
    assert!(matches!(error, Error::Freeze(FreezeError::WrongCount { .. })), "{error}");
    let last = load_weights(&classifier(1, 0.0), folder.path().join("last.safetensors")).unwrap();
    assert!(bits(&last) == bits(&model) && bits(&model) != bits(&classifier(1, 0.0)));
}

/// Masked tokens and a made-up next sentence.
pub(super) struct Both(pub(super) MaskedLanguage);

impl Objective for Both {
    type Example = TokenRow;
    type Input = TextInput;
    type Targets = PretrainingTargets;
    fn batch(
        &self,
        examples: &[&TokenRow],
        draws: &Draws,
        device: &burn::tensor::Device,
    ) -> Result<Batch<TextInput, PretrainingTargets>, DataError> {
        let Batch { input, targets: masked } = self.0.batch(examples, draws, device)?;
        let next: Vec<i64> = examples.iter().map(|row| row.len() as i64 % 2).collect();
        let next_sentence = Tensor::from_data(burn::tensor::TensorData::new(next, [examples.len()]), device);
        Ok(Batch { input, targets: PretrainingTargets { masked, next_sentence } })
    }
}

#[test]
fn heads_that_couple_rows_refuse_accumulation() {
    let config = config(1, 0.0);
    let backbone = Bert::new(&config, Pooling::Pooler, 7, &device());
    let mut model = Model::new(backbone, Pretraining::new(&config, 7, &device()));
    let rows = token_rows(16);
    let data = || Data { train: rows.as_slice(), validation: &[] };
    let two = Fit { accumulation: 2, ..fit_config(2, 1e-3) };
    let error = fit(&mut model, &Both(masking()), data(), &Freeze::Nothing, &two, &mut []).unwrap_err();
    assert!(matches!(error, Error::Train(TrainError::BadOption { option: "accumulation", .. })), "{error}");
    let report = fit(&mut model, &Both(masking()), data(), &Freeze::Nothing, &fit_config(2, 1e-3), &mut []).unwrap();
    assert_eq!(report.steps, 2);
}
