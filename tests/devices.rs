//! Every device of the build computes what Flex computes: outputs, gradients, losses of a run; frozen bytes stay.

#![allow(clippy::unwrap_used)]

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor};
use rekindle::DeviceError;
use rekindle::backbone::{Backbone, Bert, BertConfig, Pooling};
use rekindle::data::{Labels, TextExample, TextTokenizer, TokenRow};
use rekindle::head::{Classifier, MaskedLm, TaskHead};
use rekindle::loss::{ClassLoss, Focal};
use rekindle::model::Model;
use rekindle::nn::Activation;
use rekindle::objective::{Draws, LabelledRow, MaskedLanguage, Masking, Objective, TextClassification};
use rekindle::params::{Freeze, Rates};
use rekindle::rows::RowsExt;
use rekindle::train::{Data, Fit, Keep, L2Sp, Regularisation, Report, fit};
use std::process::Command;

const HIDDEN: usize = 32;
const TEXTS: [&str; 8] = [
    "the first text",
    "another one, and longer than the first",
    "no, not again!",
    "what is this about",
    "he said that she said so",
    "x",
    "a b c d e f g h i j k l m n o p q r s t",
    "the last",
];

/// Every device that this build has a feature for, Flex first.
fn names() -> Vec<&'static str> {
    let built = [cfg!(feature = "flex"), cfg!(feature = "ndarray"), cfg!(feature = "wgpu"), cfg!(feature = "cuda")];
    ["flex", "ndarray", "wgpu", "cuda"]
        .into_iter()
        .zip(built)
        .filter(|(_, built)| *built)
        .map(|(name, _)| name)
        .collect()
}

/// The devices that are compared with Flex. A machine without a GPU driver is not a failure, and is said.
fn others() -> Vec<(&'static str, Device)> {
    let open = |name| match rekindle::device(name) {
        Ok(device) => Some((name, device)),
        Err(error @ DeviceError::Unavailable { .. }) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    };
    names().into_iter().filter(|name| *name != "flex").filter_map(open).collect()
}

fn flex() -> Device {
    rekindle::device("flex").unwrap()
}

fn tokenizer() -> TextTokenizer {
    TextTokenizer::from_file(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/wordpiece_tokenizer.json")).unwrap()
}

fn config() -> BertConfig {
    serde_json::from_value(serde_json::json!({
        "vocab_size": tokenizer().vocab_size(), "hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 64, "max_position_embeddings": 32, "pad_token_id": 0, "initializer_range": 0.1,
    }))
    .unwrap()
}

fn task() -> TextClassification {
    TextClassification::new(tokenizer(), Labels::from_names(["a", "b"]).unwrap(), 24).unwrap()
}

fn labelled() -> Vec<LabelledRow> {
    let examples = TEXTS
        .iter()
        .enumerate()
        .map(|(index, text)| TextExample { text: text.to_string(), label: Some(["a", "b"][index % 2].into()) });
    task().encode(&examples.collect::<Vec<_>>()).unwrap().0
}

fn unlabelled() -> Vec<TokenRow> {
    tokenizer().encode(&TEXTS, 24).unwrap().rows
}

fn classifier(device: &Device) -> Model<Bert, Classifier> {
    let backbone = Bert::new(&config(), Pooling::Mean, 3, device);
    Model::new(backbone, Classifier::new(HIDDEN, 2, 4, device))
}

fn options() -> Fit {
    Fit { epochs: 2, batch_size: 4, rates: Rates::new(1e-3), keep: Keep::Last, ..Fit::default() }
}

/// Pretrains on masked tokens, then fine-tunes under `freeze` with a fresh head. The losses of both runs, and the model.
fn run(device: &Device, freeze: &Freeze) -> (Vec<Report>, Model<Bert, Classifier>, Vec<Vec<f32>>) {
    let (rows, labelled) = (unlabelled(), labelled());
    let objective = MaskedLanguage::new(&tokenizer(), Masking::default()).unwrap();
    let backbone = Bert::new(&config(), Pooling::Mean, 3, device);
    let mut pretrained = Model::new(backbone, MaskedLm::new(HIDDEN, config().vocab_size, 3, device));
    let data = Data { train: &rows, validation: &rows };
    let first = fit(&mut pretrained, &objective, data, &Freeze::Nothing, &options(), &mut []).unwrap();
    let body = bits(&pretrained.backbone);
    let mut model = pretrained.with_head(Classifier::new(HIDDEN, 2, 4, device));
    let data = Data { train: &labelled, validation: &labelled };
    let second = fit(&mut model, &task(), data, freeze, &options(), &mut []).unwrap();
    (vec![first, second], model, body)
}

/// Every float parameter's values, in the model's order.
fn bits<M: Module>(module: &M) -> Vec<Vec<f32>> {
    struct Values(Vec<Vec<f32>>);
    impl ModuleVisitor for Values {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.val().into_data().iter::<f32>().collect());
        }
    }
    let mut values = Values(vec![]);
    module.visit(&mut values);
    values.0
}

/// The gradients of one batch's loss; `None` for parameters that have none.
fn gradients(device: &Device, frozen: bool) -> Vec<Option<Vec<f32>>> {
    struct Gradients(GradientsParams, Vec<Option<Vec<f32>>>);
    impl ModuleVisitor for Gradients {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.push(self.0.get::<D>(param.id).map(|gradient| gradient.into_data().iter::<f32>().collect()));
        }
    }
    let model = classifier(device).train();
    let model = Model { backbone: if frozen { model.backbone.no_grad() } else { model.backbone }, head: model.head };
    let rows = labelled();
    let batch = task().batch(&rows.iter().collect::<Vec<_>>(), &Draws::new(0, 0, &[]), device).unwrap();
    let features = model.backbone.forward(batch.input.lift(&device.clone().autodiff()));
    let loss = model.head.loss(features, batch.targets);
    let mut gradients = Gradients(GradientsParams::from_grads(loss.sum.backward(), &model), vec![]);
    model.visit(&mut gradients);
    gradients.1
}

/// The largest difference; infinite where a value is NaN.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let of = |(a, b): (&f32, &f32)| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() };
    a.iter().zip(b).map(of).fold(0.0, f32::max)
}

#[test]
fn outputs_are_those_of_flex() {
    let forward = |device: &Device| -> Vec<f32> {
        let rows = labelled();
        let batch = task().batch(&rows.iter().collect::<Vec<_>>(), &Draws::new(0, 0, &[]), device).unwrap();
        let features = classifier(device).backbone.forward(batch.input);
        let hidden = features.hidden.into_data();
        hidden.iter::<f32>().collect()
    };
    let expected = forward(&flex());
    for (name, device) in others() {
        let difference = difference(&forward(&device), &expected);
        eprintln!("{name}: outputs differ by {difference:.1e}");
        assert!(difference < 2e-5, "{name}: {difference}");
    }
}

#[test]
fn activations_and_their_derivatives_are_those_of_flex() {
    let both = |activation: Activation, device: &Device| -> Vec<f32> {
        let points: Vec<f32> = (-60..=60).map(|step| step as f32 / 10.0).collect();
        let input = Tensor::<1>::from_floats(points.as_slice(), &device.clone().autodiff()).require_grad();
        let output = activation.forward(input.clone());
        let gradients = output.clone().sum().backward();
        let derivative = input.grad(&gradients).unwrap().into_data();
        output.into_data().iter::<f32>().chain(derivative.iter::<f32>()).collect()
    };
    for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Silu] {
        let expected = both(activation, &flex());
        for (name, device) in others() {
            let difference = difference(&both(activation, &device), &expected);
            eprintln!("{name}: {activation:?} differs by {difference:.1e}");
            assert!(difference < 5e-6, "{name}, {activation:?}: {difference}");
        }
    }
}

#[test]
fn gradients_are_those_of_flex_with_all_and_with_few_parameters_tracked() {
    for frozen in [false, true] {
        let expected = gradients(&flex(), frozen);
        let tracked = expected.iter().flatten().count();
        assert!(if frozen { tracked == 2 } else { tracked == expected.len() });
        for (name, device) in others() {
            let mut worst = 0f32;
            for (found, expected) in gradients(&device, frozen).iter().zip(&expected) {
                assert_eq!(found.is_some(), expected.is_some(), "{name}: other parameters have gradients");
                let (Some(found), Some(expected)) = (found, expected) else { continue };
                worst = worst.max(difference(found, expected));
            }
            eprintln!("{name}: {tracked} gradients differ by {worst:.1e}");
            assert!(worst < 5e-6, "{name}, {tracked} gradients: {worst}");
        }
    }
}

#[test]
fn losses_and_their_gradients_are_those_of_flex() {
    let weights = || Some(vec![0.5, 3.0, 0.25]);
    let focal = || Some(Focal { gamma: 1.5, alpha: None });
    let losses = [
        ClassLoss::default(),
        ClassLoss { label_smoothing: 0.1, class_weights: weights(), z_loss: 0.01, ..ClassLoss::default() },
        ClassLoss { focal: focal(), class_weights: weights(), ..ClassLoss::default() },
    ];
    let values = |device: &Device, loss: &ClassLoss| -> Vec<f32> {
        let logits = |shift: f32| {
            let values: Vec<f32> = (0..24).map(|index| ((index * 7 % 11) as f32 - 5.0) * 0.6 + shift).collect();
            Tensor::<1>::from_floats(values.as_slice(), &device.clone().autodiff()).reshape([8, 3]).require_grad()
        };
        let labels = || Tensor::<1, Int>::from_ints([0, 1, 2, 1, 1, 0, 2, 2], device);
        let (a, b) = (logits(0.0), logits(0.0) * 0.7);
        let sum = loss.of(a.clone(), labels()).sum
            + loss.r_drop(a.clone(), b.clone(), labels(), 0.7).sum
            + loss.distilled(a.clone(), b.inner(), labels(), 2.0, 0.4).sum;
        let gradient = a.grad(&sum.clone().backward()).unwrap().into_data();
        sum.into_data().iter::<f32>().chain(gradient.iter::<f32>()).collect()
    };
    for loss in losses {
        let expected = values(&flex(), &loss);
        for (name, device) in others() {
            let difference = difference(&values(&device, &loss), &expected);
            eprintln!("{name}: {loss:?} differs by {difference:.1e}");
            assert!(difference < 1e-4, "{name}, {loss:?}: {difference}");
        }
    }
}

#[test]
fn regularised_runs_have_the_losses_of_flex() {
    let regularisation = Regularisation { r_drop: Some(0.7), l2_sp: Some(L2Sp::new(0.1)), mixout: Some(0.2) };
    let losses = |device: &Device| {
        let (rows, mut model) = (labelled(), classifier(device));
        let data = Data { train: &rows, validation: &[] };
        let config = Fit { regularisation, ..options() };
        fit(&mut model, &task(), data, &Freeze::Bottom(2), &config, &mut []).unwrap().losses
    };
    let expected = losses(&flex());
    for (name, device) in others() {
        let pairs = losses(&device).into_iter().zip(&expected);
        let worst = pairs.map(|(found, expected)| (found - expected).abs()).fold(0.0, f64::max);
        eprintln!("{name}: regularised losses differ by {worst:.1e}");
        assert!(worst < 1e-4, "{name}: {worst}");
    }
}

#[test]
fn a_run_has_the_losses_of_flex_and_leaves_frozen_bytes() {
    for freeze in [Freeze::Nothing, Freeze::Bottom(2), Freeze::Backbone] {
        let expected = run(&flex(), &freeze).0;
        for (name, device) in [("flex", flex())].into_iter().chain(others()) {
            let (reports, model, pretrained) = run(&device, &freeze);
            for (found, expected) in reports.iter().zip(&expected) {
                assert_eq!(found.losses.len(), 4);
                let losses = found.losses.iter().zip(&expected.losses);
                let worst = losses.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                let norms = found.grad_norms.iter().zip(&expected.grad_norms);
                let norm = norms.map(|(a, b)| (a - b).abs() / b).fold(0.0, f64::max);
                let validation = (found.best.unwrap().summary.loss - expected.best.unwrap().summary.loss).abs();
                eprintln!(
                    "{name}, {freeze:?}: losses {worst:.1e}, gradient norms {norm:.1e}, validation {validation:.1e}"
                );
                assert!(worst < 1e-4 && validation < 1e-4 && norm < 1e-3, "{name}, {freeze:?}");
            }
            let body = bits(&model.backbone);
            let same = body.iter().zip(&pretrained).filter(|(now, before)| now == before).count();
            let frozen = match freeze {
                Freeze::Backbone => body.len(),
                Freeze::Bottom(_) => body.len() - 16, // the last layer's
                _ => 0,
            };
            assert_eq!(same, frozen, "{name}, {freeze:?}: parameters that did not change");
        }
    }
}

#[test]
fn a_device_whose_feature_is_off_names_the_feature() {
    let off = ["flex", "ndarray", "wgpu", "cuda"].into_iter().filter(|name| !names().contains(name));
    for name in off {
        let error = rekindle::device(name).unwrap_err();
        assert_eq!(error, DeviceError::FeatureOff { name });
        assert!(error.to_string().contains(&format!("--features {name}")), "{error}");
    }
    assert!(matches!(rekindle::device("tpu"), Err(DeviceError::Unknown { .. })));
}

/// In a process of its own, because a graphics driver is looked for once a process.
#[test]
fn a_machine_without_an_adapter_is_an_error() {
    const CHILD: &str = "REKINDLE_TEST_WITHOUT_ADAPTER";
    if !names().contains(&"wgpu") {
        return;
    }
    if std::env::var_os(CHILD).is_some() {
        let error = rekindle::device("wgpu").unwrap_err();
        assert!(matches!(error, DeviceError::Unavailable { name: "wgpu", .. }), "{error}");
        eprintln!("{error}");
        assert!(rekindle::device("flex").is_ok());
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "--nocapture", "a_machine_without_an_adapter_is_an_error"]).env(CHILD, "1");
    // A Vulkan loader that is told to read no driver, and an EGL without one, find no adapter.
    child.env("VK_DRIVER_FILES", "/nonexistent").env("VK_ICD_FILENAMES", "/nonexistent");
    child.env("__EGL_VENDOR_LIBRARY_FILENAMES", "/nonexistent");
    let output = child.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs itself in processes of their own, for variables are read once.
#[cfg(feature = "flex")]
#[test]
fn a_variable_that_means_nothing_is_an_error() {
    const CHILD: &str = "REKINDLE_TEST_VARIABLE";
    if let Some(named) = std::env::var_os(CHILD) {
        let Err(error @ DeviceError::Variable { .. }) = rekindle::device("flex") else { panic!("no error") };
        let said = error.to_string();
        assert!(said.contains(named.to_str().unwrap()) && said.contains("`of`"), "{said}");
        return;
    }
    for name in ["REKINDLE_KERNELS", "REKINDLE_SIMD"] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "--nocapture", "a_variable_that_means_nothing_is_an_error"]);
        let output = child.env(CHILD, name).env(name, "of").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
