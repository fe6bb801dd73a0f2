//! Values and gradients of losses against PyTorch's, to 1e-6 of the largest.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Int, Tensor, TensorData};
use rekindle::checkpoint::Tensors;
use rekindle::loss::{
    ClassLoss, Focal, absolute_error, binary_cross_entropy, cosent, cosine_error, cross_entropy, distillation,
    gaussian_nll, huber, in_batch_negatives, jensen_shannon, kl_divergence, log_cosh, mixup, normalise, pinball,
    sigmoid_contrastive, sigmoid_focal, smooth_l1, soft_cross_entropy, squared_error, symmetric_contrastive,
};
use serde::Deserialize;

use super::support::device;

#[derive(Deserialize)]
struct Case {
    wrt: Vec<String>,
    #[serde(default)]
    args: BTreeMap<String, f64>,
}

/// Losses that this crate does not offer yet, and what they wait for.
const NOT_OFFERED: [(&str, &[&str]); 4] = [
    (
        "heads on pairs of embeddings",
        &[
            "nt_xent",
            "supervised_contrastive",
            "triplet",
            "triplet_cosine",
            "cosine_embedding",
            "contrastive",
            "margin_mse",
        ],
    ),
    ("detection heads", &["iou", "giou"]),
    ("segmentation heads", &["dice"]),
    (
        "heads that compare two answers",
        &["dpo", "dpo_smoothed", "ipo", "dpo_hinge", "dpo_from_logits", "orpo", "simpo", "reward_pair"],
    ),
];

struct Inputs(Tensors);

impl Inputs {
    /// `in.<name>`, `[rows, columns]` (one column for a list), a leaf of the graph.
    fn floats(&self, name: &str) -> Tensor<2> {
        let key = format!("in.{name}");
        let (values, shape) = (self.0.f32(&key).unwrap(), self.0.shape(&key).unwrap());
        let data = TensorData::new(values, [shape[0], shape.get(1).copied().unwrap_or(1)]);
        Tensor::from_data(data, &device().autodiff()).require_grad()
    }

    fn classes(&self, name: &str) -> Tensor<1, Int> {
        let values = self.0.i64(&format!("in.{name}")).unwrap();
        let count = values.len();
        Tensor::from_data(TensorData::new(values, [count]), &device())
    }

    fn list(&self, name: &str) -> Vec<f64> {
        self.0.f32(&format!("in.{name}")).unwrap().into_iter().map(f64::from).collect()
    }
}

/// The mean of a loss for its inputs, in the order of `wrt`.
fn loss(name: &str, args: &BTreeMap<String, f64>, x: &[Tensor<2>], inputs: &Inputs) -> Option<Tensor<1>> {
    let (target, ignoring) = (inputs.classes("target"), inputs.classes("target_ignore"));
    let logits = || x[0].clone();
    let plain = |name| inputs.floats(name).inner();
    let arg = |name: &str| args[name];
    let ignore = ClassLoss { ignore_index: Some(-100), ..ClassLoss::default() };
    let weights = || Some(inputs.list("class_weight"));
    let focal = Focal { gamma: 2.0, alpha: None };
    let loss = match name {
        "cross_entropy" => cross_entropy(logits(), target),
        "cross_entropy_ignore" => ignore.of(logits(), ignoring),
        "label_smoothing" => ClassLoss { label_smoothing: arg("e"), ..ignore }.of(logits(), ignoring),
        "class_weight" => ClassLoss { class_weights: weights(), ..ignore }.of(logits(), ignoring),
        "class_weight_smoothing" => {
            ClassLoss { class_weights: weights(), label_smoothing: arg("e"), ..ignore }.of(logits(), ignoring)
        }
        "soft_targets" => soft_cross_entropy(logits(), burn::tensor::activation::softmax(plain("teacher"), 1)),
        "mixup" => {
            let before = Tensor::cat(vec![target.clone().narrow(0, 5, 1), target.clone().narrow(0, 0, 5)], 0);
            mixup(logits(), target, before, arg("lam"))
        }
        "z_loss" => ClassLoss { z_loss: 1e-2, ..ClassLoss::default() }.of(logits(), target),
        "bce" => binary_cross_entropy(logits(), plain("multi"), None),
        "bce_pos_weight" => binary_cross_entropy(logits(), plain("multi"), Some(&inputs.list("pos_weight"))),
        "focal_sigmoid" => sigmoid_focal(logits(), plain("multi"), arg("alpha"), arg("gamma")),
        "focal_softmax" => ClassLoss { focal: Some(Focal { gamma: arg("gamma"), ..focal }), ..ClassLoss::default() }
            .of(logits(), target),
        "distillation_kl" => distillation(logits(), plain("teacher"), arg("T")),
        "distillation_mix" => ClassLoss::default().distilled(logits(), plain("teacher"), target, arg("T"), 0.7),
        "distillation_reverse_kl" => kl_divergence(logits(), plain("teacher")),
        "jensen_shannon" => jensen_shannon(logits(), plain("teacher")),
        "r_drop" => ClassLoss::default().r_drop(logits(), x[1].clone(), target, arg("alpha")),
        "mse" => squared_error(logits(), plain("y")),
        "mae" => absolute_error(logits(), plain("y")),
        "huber" => huber(logits(), plain("y"), 1.0),
        "smooth_l1" => smooth_l1(logits(), plain("y"), 0.5),
        "quantile" => pinball(logits(), plain("y"), 0.8),
        "log_cosh" => log_cosh(logits(), plain("y")),
        "gaussian_nll" => {
            let variance = burn::tensor::activation::softplus(x[1].clone().narrow(1, 0, 1), 1.0) + 0.1;
            gaussian_nll(logits(), variance, plain("y"))
        }
        "cosine_similarity_mse" => cosine_error(logits(), x[1].clone(), plain("score")),
        "cosent" => cosent(logits(), x[1].clone(), plain("score"), arg("scale")),
        "mnrl" => in_batch_negatives(logits(), x[1].clone(), arg("scale")),
        "mnrl_hard_negatives" => {
            in_batch_negatives(logits(), Tensor::cat(vec![x[1].clone(), x[2].clone()], 0), arg("scale"))
        }
        "info_nce_symmetric" => {
            let similarities = normalise(logits()).matmul(normalise(x[1].clone()).transpose());
            symmetric_contrastive(similarities / arg("tau"))
        }
        "siglip" => {
            let similarities = normalise(logits()).matmul(normalise(x[1].clone()).transpose());
            sigmoid_contrastive(similarities * 10.0 - 10.0)
        }
        _ => return None,
    };
    Some(loss.mean())
}

fn near(name: &str, found: &[f32], expected: &[f32]) {
    let scale = expected.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-6 * scale, "{name}: {found} is not {expected}");
    }
}

#[test]
fn losses_are_those_of_pytorch_and_the_rest_is_named() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/losses");
    let cases: BTreeMap<String, Case> =
        serde_json::from_slice(&std::fs::read(folder.join("losses.json")).unwrap()).unwrap();
    let inputs = Inputs(Tensors::open_file(folder.join("expected.safetensors")).unwrap());
    let mut offered = 0;
    for (name, Case { wrt, args }) in &cases {
        let later = NOT_OFFERED.iter().any(|(_, names)| names.contains(&name.as_str()));
        let x: Vec<Tensor<2>> = match later {
            true => vec![],
            false => wrt.iter().map(|name| inputs.floats(name)).collect(),
        };
        let found = if later { None } else { loss(name, args, &x, &inputs) };
        assert_eq!(found.is_none(), later, "`{name}` is neither computed nor listed as not offered");
        let Some(found) = found else { continue };
        offered += 1;
        near(name, &[found.clone().into_scalar::<f32>()], &inputs.0.f32(&format!("value.{name}")).unwrap());
        let gradients = found.backward();
        for (tensor, input) in x.iter().zip(wrt) {
            let gradient: Vec<f32> = tensor.grad(&gradients).unwrap().into_data().iter::<f32>().collect();
            near(&format!("{name} by {input}"), &gradient, &inputs.0.f32(&format!("{name}.grad.{input}")).unwrap());
        }
    }
    let listed: usize = NOT_OFFERED.iter().map(|(_, names)| names.len()).sum();
    assert_eq!((offered, offered + listed), (30, cases.len()));
}

/// `-sum over rows` of a loss in float64, from its definition.
fn by_hand(loss: &ClassLoss, logits: &[[f64; 3]], labels: &[i64]) -> (f64, f64) {
    let weight = |class: usize| loss.class_weights.as_ref().map_or(1.0, |weights| weights[class]);
    let (mut sum, mut total) = (0.0, 0.0);
    for (row, label) in logits.iter().zip(labels).filter(|(_, label)| Some(**label) != loss.ignore_index) {
        let normaliser = row.iter().map(|logit| logit.exp()).sum::<f64>().ln();
        let cost = |class: usize| normaliser - row[class];
        let label = *label as usize;
        sum += match &loss.focal {
            Some(Focal { gamma, alpha }) => {
                let alpha = alpha.as_ref().map_or(1.0, |alpha| alpha[label]);
                weight(label) * alpha * (1.0 - (-cost(label)).exp()).powf(*gamma) * cost(label)
            }
            None => {
                let spread: f64 = (0..3).map(|class| weight(class) * cost(class)).sum();
                (1.0 - loss.label_smoothing) * weight(label) * cost(label) + loss.label_smoothing / 3.0 * spread
            }
        };
        sum += loss.z_loss * weight(label) * normaliser * normaliser;
        total += weight(label);
    }
    (sum, total)
}

#[test]
fn options_that_no_table_has_together_follow_their_definition() {
    let logits = [[0.3, -1.2, 2.0], [1.5, 0.1, -0.4], [-2.0, 0.7, 0.9], [0.0, 0.0, 9.0]];
    let labels = [2, 1, -100, 0];
    let base = ClassLoss { ignore_index: Some(-100), ..ClassLoss::default() };
    let weights = Some(vec![0.5, 3.0, 0.25]);
    let focal = |gamma, alpha| Some(Focal { gamma, alpha });
    for loss in [
        ClassLoss { class_weights: weights.clone(), label_smoothing: 0.3, z_loss: 0.05, ..base.clone() },
        ClassLoss { class_weights: weights.clone(), focal: focal(2.0, None), z_loss: 0.05, ..base.clone() },
        ClassLoss { class_weights: weights, focal: focal(0.5, Some(vec![0.1, 2.0, 0.7])), ..base.clone() },
        ClassLoss { focal: focal(0.0, None), ..base.clone() },
        ClassLoss { focal: focal(1.7, Some(vec![0.1, 2.0, 0.7])), ..base },
    ] {
        loss.check(3).unwrap();
        let tensor = Tensor::<2>::from_floats(logits.map(|row| row.map(|value| value as f32)), &device());
        let found = loss.of(tensor, Tensor::<1, Int>::from_ints(labels, &device()));
        let (sum, weight) = by_hand(&loss, &logits, &labels);
        let value = f64::from(found.sum.into_scalar::<f32>());
        assert!((value - sum).abs() <= 2e-6 * sum, "{loss:?}: {value} is not {sum}");
        assert!((found.weight - weight).abs() <= 1e-7, "{loss:?}");
    }
}

#[test]
fn vectors_of_zeros_have_finite_gradients_under_cosine_losses() {
    let zeros = || Tensor::<2>::zeros([3, 4], &device().autodiff()).require_grad();
    let scores = Tensor::<2>::from_floats([[0.0], [0.5], [0.5]], &device());
    for loss in [
        |a, b, scores| cosine_error(a, b, scores),
        |a, b, scores| cosent(a, b, scores, 20.0),
        |a, b, _: Tensor<2>| in_batch_negatives(a, b, 20.0),
    ] {
        let (first, second) = (zeros(), zeros());
        let gradients = loss(first.clone(), second, scores.clone()).mean().backward();
        assert!(first.grad(&gradients).unwrap().into_data().iter::<f32>().all(f32::is_finite));
    }
}

#[test]
fn a_sure_and_right_row_has_finite_gradients_under_focal_loss() {
    for gamma in [0.0, 0.5, 2.0] {
        let loss = ClassLoss { focal: Some(Focal { gamma, alpha: None }), ..ClassLoss::default() };
        let logits = Tensor::<2>::from_floats([[200.0, 0.0], [0.0, 200.0]], &device().autodiff()).require_grad();
        let value = loss.of(logits.clone(), Tensor::<1, Int>::from_ints([0, 0], &device())).sum;
        let gradient = logits.grad(&value.clone().backward()).unwrap();
        assert!((value.into_scalar::<f32>() - 200.0).abs() < 1e-3);
        assert!(gradient.into_data().iter::<f32>().all(f32::is_finite), "gamma {gamma}");
    }
}

#[test]
fn a_class_that_does_not_exist_is_not_a_number() {
    let logits = || Tensor::<2>::zeros([2, 3], &device());
    for label in [3, -1] {
        let labels = Tensor::<1, Int>::from_ints([0, label], &device());
        for loss in [
            ClassLoss::default(),
            ClassLoss { label_smoothing: 0.1, ..ClassLoss::default() },
            ClassLoss { focal: Some(Focal { gamma: 2.0, alpha: None }), ..ClassLoss::default() },
            ClassLoss { class_weights: Some(vec![1.0]), ..ClassLoss::default() },
        ] {
            assert!(loss.of(logits(), labels.clone()).sum.into_scalar::<f32>().is_nan(), "{loss:?} {label}");
        }
    }
}
