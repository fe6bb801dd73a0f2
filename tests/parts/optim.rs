//! Optimizers, clipping, weight averages and accumulation against PyTorch and Transformers.
//!
//! Needs the reference folders beside the checkout, or `REKINDLE_SHARED`; those that are copied to `tests/fixtures` are read
//! from there.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use rekindle::checkpoint::Tensors;
use rekindle::optim::{
    Adafactor, AdamW, Averager, Averaging, Clipping, EmaForm, GradientNorms, Lion, NormType, Optimizer,
    OptimizerConfig, Sgd, Start, Update,
};
use serde::Deserialize;
use serde_json::{Map, Value};

fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn open(path: PathBuf) -> Tensors {
    Tensors::open_file(path).unwrap()
}

thread_local! {
    static DEVICE: RefCell<Device> = RefCell::new(rekindle::device("flex").unwrap());
}

/// Runs a test on every device of the build that opens.
fn everywhere(test: impl Fn()) {
    for device in ["flex", "ndarray", "wgpu"].iter().filter_map(|name| rekindle::device(name).ok()) {
        DEVICE.set(device);
        test();
    }
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    DEVICE.with_borrow(|device| Tensor::from_data(TensorData::new(values, shape), device))
}

fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}

fn apart(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).fold(0.0, |most, (a, b)| most.max(f64::from((a - b).abs())))
}

/// A matrix, a vector, a tensor of rank 3 and a single value.
#[derive(Module, Debug)]
struct Four {
    w: Param<Tensor<2>>,
    b: Param<Tensor<1>>,
    c: Param<Tensor<3>>,
    d: Param<Tensor<1>>,
}

impl Four {
    fn gradients(&self, w: Vec<f32>, b: Vec<f32>, c: Vec<f32>, d: Vec<f32>) -> GradientsParams {
        let mut gradients = GradientsParams::new();
        gradients.register(self.w.id, tensor(w, self.w.dims()));
        gradients.register(self.b.id, tensor(b, self.b.dims()));
        gradients.register(self.c.id, tensor(c, self.c.dims()));
        gradients.register(self.d.id, tensor(d, self.d.dims()));
        gradients
    }

    fn read(&self, gradients: &GradientsParams) -> [Vec<f32>; 4] {
        [
            values(&gradients.get::<2>(self.w.id).unwrap()),
            values(&gradients.get::<1>(self.b.id).unwrap()),
            values(&gradients.get::<3>(self.c.id).unwrap()),
            values(&gradients.get::<1>(self.d.id).unwrap()),
        ]
    }
}

fn four() -> Four {
    let param = Param::from_tensor;
    Four {
        w: param(tensor(vec![0.0; 20], [5, 4])),
        b: Param::from_tensor(tensor(vec![0.0; 5], [5])),
        c: Param::from_tensor(tensor(vec![0.0; 12], [3, 2, 2])),
        d: Param::from_tensor(tensor(vec![0.0], [1])),
    }
}

#[derive(Module, Debug)]
struct Two {
    w: Param<Tensor<2>>,
    b: Param<Tensor<1>>,
}

#[derive(Deserialize)]
struct Case {
    args: Map<String, Value>,
    float64_difference: f64,
}

/// The optimizer that a case of the reference was made with; `None` for those that are not offered.
fn config(name: &str, args: &Map<String, Value>) -> Option<OptimizerConfig> {
    let number = |key: &str| args.get(key).and_then(Value::as_f64);
    let flag = |key: &str| args.get(key).map(|value| value.as_bool().unwrap());
    let known = [
        "lr",
        "weight_decay",
        "momentum",
        "nesterov",
        "dampening",
        "betas",
        "eps",
        "amsgrad",
        "scale_parameter",
        "relative_step",
        "warmup_init",
        "beta1",
    ];
    let adamw = AdamW {
        betas: args.get("betas").map_or((0.9, 0.999), |betas| serde_json::from_value(betas.clone()).unwrap()),
        eps: number("eps").unwrap_or(1e-8),
        amsgrad: flag("amsgrad").unwrap_or(false),
        decoupled: name.starts_with("adamw"),
    };
    let config = match name.split('_').next().unwrap() {
        "sgd" => Some(OptimizerConfig::Sgd(Sgd {
            momentum: number("momentum").unwrap_or(0.0),
            dampening: number("dampening").unwrap_or(0.0),
            nesterov: flag("nesterov").unwrap_or(false),
        })),
        "adam" | "adamw" => Some(adamw.into()),
        "adafactor" => Some(OptimizerConfig::Adafactor(Adafactor {
            beta1: number("beta1"),
            scale_parameter: flag("scale_parameter").unwrap(),
            relative_step: flag("relative_step").unwrap(),
            warmup_init: flag("warmup_init").unwrap(),
            ..Adafactor::default()
        })),
        "lion" => Some(Lion::default().into()),
        _ => None,
    };
    assert!(config.is_none() || args.keys().all(|key| known.contains(&key.as_str())), "{name}: {args:?}");
    config
}

/// `torch_adafactor` is PyTorch's, whose weight decay and smallest moments differ from Transformers'; the others are no
/// usual choice for transformers, or (`muon`, `lamb`) for fine-tuning them.
const NOT_OFFERED: [&str; 10] = [
    "adadelta",
    "adagrad",
    "adamax",
    "lamb",
    "muon",
    "nadam",
    "radam",
    "rmsprop",
    "rmsprop_centered",
    "torch_adafactor",
];

#[test]
fn optimizers_are_those_of_the_references() {
    everywhere(check_optimizers);
}

fn check_optimizers() {
    let file = open(own("optimizers/expected.safetensors"));
    let cases: BTreeMap<String, Case> =
        serde_json::from_slice(&std::fs::read(own("optimizers/optimizers.json")).unwrap()).unwrap();
    let mut left_out = BTreeSet::new();
    for (name, case) in &cases {
        let Some(config) = config(name, &case.args) else {
            left_out.insert(name.as_str());
            continue;
        };
        // With a relative step the reference has no rate of its own: a factor of 1.
        let lr = case.args["lr"].as_f64().unwrap_or(1.0);
        let weight_decay = match (name.as_str(), case.args.get("weight_decay")) {
            (_, Some(decay)) => decay.as_f64().unwrap(),
            ("adamw" | "adamw_betas" | "adamw_amsgrad", None) => 1e-2,
            _ => 0.0,
        };
        let mut model = Two {
            w: Param::from_tensor(tensor(file.f32("start.w").unwrap(), [5, 4])),
            b: Param::from_tensor(tensor(file.f32("start.b").unwrap(), [5])),
        };
        let update = Update { lr, weight_decay };
        let updates = HashMap::from([(model.w.id.val(), update), (model.b.id.val(), update)]);
        let mut optimizer = Optimizer::new(config);
        let mut most: f64 = 0.0;
        for step in 0..5 {
            let mut gradients = GradientsParams::new();
            // A step of weight 4, to see that the scale comes first. It is a power of two, which rounds nothing.
            let gradient =
                |key: &str| file.f32(&format!("grad.{step}.{key}")).unwrap().iter().map(|g| 4.0 * g).collect();
            gradients.register(model.w.id, tensor(gradient("w"), [5, 4]));
            gradients.register(model.b.id, tensor(gradient("b"), [5]));
            model = optimizer.step(model, gradients, &updates, 0.25);
            let expected =
                |key: &str, size: usize| file.f32(&format!("{name}.{key}")).unwrap()[step * size..][..size].to_vec();
            most = most.max(apart(&values(&model.w.val()), &expected("w", 20)));
            most = most.max(apart(&values(&model.b.val()), &expected("b", 5)));
        }
        println!("{name}: off by {most:.1e}, float32 by {:.1e} from float64", case.float64_difference);
        assert!(most <= 2.0 * case.float64_difference, "{name}: {most} against {}", case.float64_difference);
    }
    assert_eq!(left_out, BTreeSet::from(NOT_OFFERED));
}

#[test]
fn adafactor_factors_the_last_two_axes_of_any_rank() {
    everywhere(check_ranks);
}

fn check_ranks() {
    let mut model = four();
    let ids = [model.w.id, model.b.id, model.c.id, model.d.id];
    let update = Update { lr: 1e-2, weight_decay: 0.0 };
    let updates = ids.into_iter().map(|id| (id.val(), update)).collect();
    let config = Adafactor { relative_step: false, scale_parameter: false, ..Adafactor::default() };
    let mut optimizer = Optimizer::new(config);
    // The middle of three matrices has no gradient at all, and a row of the first one.
    let mut c = vec![0.0; 12];
    (c[0], c[1]) = (0.5, -2.0);
    (c[8], c[9], c[10], c[11]) = (1.0, 2.0, 3.0, 4.0);
    let gradients = model.gradients(vec![0.0; 20], vec![1.0; 5], c, vec![-3.0]);
    model = optimizer.step(model, gradients, &updates, 1.0);
    // Transformers 5.24.0 on the same.
    let expected = [0.0; 20];
    assert_eq!(values(&model.w.val()), expected);
    let c = values(&model.c.val());
    assert!(apart(&c, &ADAFACTOR_C) < 1e-8, "{c:?}");
    assert!(apart(&values(&model.d.val()), &[0.01]) < 1e-8);
}

const ADAFACTOR_C: [f32; 12] =
    [-0.01, 0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -0.007_745_967, -0.010_954_452, -0.010_392_304, -0.009_797_959];

#[derive(Deserialize)]
struct NormCase {
    case: String,
    norm_type: String,
    max_norm: f64,
    total_norm: f64,
}

#[test]
fn clipping_is_pytorch_s() {
    everywhere(check_clipping);
}

fn check_clipping() {
    let file = open(own("grad_clip/expected.safetensors"));
    let cases: Vec<NormCase> = serde_json::from_slice(&std::fs::read(own("grad_clip/norms.json")).unwrap()).unwrap();
    let model = four();
    let read = |prefix: &str| [0, 1, 2, 3].map(|index| file.f32(&format!("{prefix}.{index}")).unwrap());
    let near = |found: &[Vec<f32>; 4], expected: &[Vec<f32>; 4], what: &str| {
        for (found, expected) in found.iter().zip(expected) {
            for (a, b) in found.iter().zip(expected) {
                assert!((a - b).abs() <= 1e-6 * b.abs(), "{what}: {a} is not {b}");
            }
        }
    };
    // As sums over a step of this weight.
    let weight = 2.0;
    let summed = || {
        let [w, b, c, d] = read("grad").map(|values| values.iter().map(|value| 2.0 * value).collect());
        model.gradients(w, b, c, d)
    };
    let clip = |clipping: Clipping| {
        let length = GradientNorms::of(&model, &summed()).total();
        let (gradients, scale) = clipping.apply(&model, summed(), length, weight);
        model.read(&gradients).map(|values| values.iter().map(|value| value * scale as f32).collect())
    };
    for case in &cases {
        let norm_type = match case.norm_type.as_str() {
            "inf" => NormType::Max,
            p => NormType::P(p.parse().unwrap()),
        };
        let total = norm_type.of(&model, &summed()) / weight;
        assert!((total / case.total_norm - 1.0).abs() < 1e-6, "{}: {total} is not {}", case.case, case.total_norm);
        let clipped = clip(Clipping { norm: Some(case.max_norm), norm_type, value: None });
        near(&clipped, &read(&case.case), &case.case);
    }
    let (greatest, largest) = (NormType::P(1e30).of(&model, &summed()), NormType::Max.of(&model, &summed()));
    assert!((greatest / largest - 1.0).abs() < 1e-6, "{greatest} is not {largest}");
    let bounded = clip(Clipping { value: Some(0.4), ..Clipping::default() });
    near(&bounded, &read("value0.4"), "value");
    near(&clip(Clipping::default()), &read("grad"), "none");
    // Both: the norm is that of the bounded values.
    let both = clip(Clipping { norm: Some(0.1), norm_type: NormType::P(2.0), value: Some(0.4) });
    let length = bounded.iter().flatten().map(|value| value * value).sum::<f32>().sqrt();
    near(&both, &bounded.clone().map(|values| values.iter().map(|v| v * (0.1 / (length + 1e-6))).collect()), "both");
}

#[derive(Module, Debug)]
struct One {
    w: Param<Tensor<2>>,
}

#[test]
fn averages_are_those_of_the_references() {
    everywhere(check_averages);
}

fn check_averages() {
    let file = open(own("weight_averaging/expected.safetensors"));
    let weights = file.f32("weights").unwrap();
    let ema = |decay, form| Averaging::Ema { decay, form };
    let mut cases = BTreeMap::from([
        ("ema_0.999", Averaging::ema(0.999)),
        ("ema_0.9", Averaging::ema(0.9)),
        ("ema_0.999_warmup", ema(0.999, EmaForm::Warmup)),
        ("ema_0.9999_power", ema(0.9999, EmaForm::Power(2.0 / 3.0))),
        ("ema_0.9_bias_corrected", ema(0.9, EmaForm::BiasCorrected)),
        ("swa", Averaging::Swa { start: Start::Step(1), every: 1 }),
        ("uniform_last4", Averaging::Last { count: 4, every: 1 }),
    ]);
    for key in file.keys().filter(|key| *key != "weights") {
        let config = cases.remove(key).unwrap_or_else(|| panic!("{key} is not covered"));
        let expected = file.f32(key).unwrap();
        let mut model = One { w: Param::from_tensor(tensor(vec![0.0; 12], [4, 3])) };
        let id = model.w.id;
        let mut averager = Averager::new(Some(config), 1);
        let mut averages = vec![];
        for step in 0..12 {
            model = One { w: Param::initialized(id, tensor(weights[12 * step..][..12].to_vec(), [4, 3])) };
            averager.update(&model, step + 1, |_| true);
            averages.push(values(&averager.averaged(&model).w.val()));
        }
        assert_eq!(values(&model.w.val()), weights[12 * 11..], "the weights themselves stay");
        let found = averages.concat();
        let most = apart(&found[found.len() - expected.len()..], &expected);
        println!("{key}: off by {most:.1e}");
        assert!(most < 1e-6, "{key}: {most}");
    }
    assert!(cases.is_empty(), "{cases:?}");
}

#[test]
fn an_average_takes_the_steps_it_says() {
    // The weight of step t is t.
    let run = |config| {
        let id = One { w: Param::from_tensor(tensor(vec![0.0], [1, 1])) }.w.id;
        let mut averager = Averager::new(Some(config), 3);
        let at = |step: usize| One { w: Param::initialized(id, tensor(vec![step as f32], [1, 1])) };
        [1, 2, 3, 4, 5, 6, 7, 8].map(|step| {
            averager.update(&at(step), step, |_| true);
            values(&averager.averaged(&at(step)).w.val())[0]
        })
    };
    let swa = |start, every| run(Averaging::Swa { start, every });
    assert_eq!(swa(Start::Step(5), 1), [1.0, 2.0, 3.0, 4.0, 5.0, 5.5, 6.0, 6.5]);
    // The first step after an epoch of 3 steps is the 4th.
    assert_eq!(swa(Start::Epoch(1), 2), [1.0, 2.0, 3.0, 4.0, 4.0, 5.0, 5.0, 6.0]);
    assert_eq!(run(Averaging::Last { count: 2, every: 3 }), [1.0, 2.0, 3.0, 3.0, 3.0, 4.5, 4.5, 4.5]);
    assert_eq!(run(Averaging::ema(0.5))[..3], [1.0, 1.5, 2.25]);
}

#[test]
fn accumulated_micro_batches_weigh_what_they_count() {
    let shared = std::env::var_os("REKINDLE_SHARED").map_or_else(|| "../shared".into(), PathBuf::from);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(shared).join("fixtures/grad_accumulation");
    if !folder.is_dir() {
        eprintln!("skipped: needs {} (set REKINDLE_SHARED)", folder.display());
        return;
    }
    let [inputs, expected, grads] =
        ["inputs", "expected", "grads"].map(|name| open(folder.join(name).with_extension("safetensors")));
    let means = expected.f32("micro_loss_mean").unwrap();
    let counts: Vec<f32> = expected.i64("micro_count").unwrap().into_iter().map(|count| count as f32).collect();
    for (micro, count) in counts.iter().enumerate() {
        // The first label of a row predicts nothing.
        let labels = inputs.i64(&format!("micro.{micro}.labels")).unwrap();
        let counted = labels.chunks(15).flat_map(|row| &row[1..]).filter(|label| **label != -100).count();
        assert_eq!(counted as f32, *count);
    }
    let sum: f32 = means.iter().zip(&counts).map(|(mean, count)| mean * count).sum();
    let loss = sum / counts.iter().sum::<f32>();
    assert!((loss / expected.f32("loss").unwrap()[0] - 1.0).abs() < 1e-6, "{loss}");
    // The norm over all parameters, of gradients summed over the 25 tokens and divided by them.
    let flat: Vec<Vec<f32>> = grads.keys().map(|key| grads.f32(key).unwrap()).collect();
    let model: Vec<Param<Tensor<1>>> =
        flat.iter().map(|values| Param::from_tensor(tensor(vec![0.0; values.len()], [values.len()]))).collect();
    let mut gradients = GradientsParams::new();
    for (param, values) in model.iter().zip(flat) {
        gradients.register(param.id, tensor(values.iter().map(|value| 25.0 * value).collect(), [values.len()]));
    }
    let norm = GradientNorms::of(&model, &gradients).total() / 25.0;
    let wanted = f64::from(expected.f32("grad_norm").unwrap()[0]);
    assert!((norm / wanted - 1.0).abs() < 1e-6, "{norm} is not {wanted}");
}
