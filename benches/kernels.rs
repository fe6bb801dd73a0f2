//! Times each fused kernel against the same function composed of Burn's operations, forward and backward, at the sizes of a
//! small encoder and of a small decoder; and what a step does before its network runs.
//!
//! `cargo bench --bench kernels -- --quick`. `REKINDLE_SIMD=avx2` or `portable` times what other processors run.

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData, activation};
use criterion::{BatchSize, Bencher, Criterion, criterion_group, criterion_main};
use rekindle::backbone::TextState;
use rekindle::checkpoint::Checkpoint;
use rekindle::data::{Columns, Labels, read_text};
use rekindle::loss::cross_entropy;
use rekindle::nn::{
    Activation, Dropout, Embedding, LayerNorm, RandomScope, Reach, RmsNorm, RopeScaling, Rotary, Scoring, attend,
    linear, linear_gelu, split_heads,
};
use rekindle::objective::{Draws, Objective, TextClassification};
use rekindle::rows::RowsExt;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// What a network is made of.
#[derive(Clone, Copy)]
struct Sizes {
    name: &'static str,
    batch: usize,
    seq: usize,
    hidden: usize,
    heads: usize,
    inner: usize,
    vocabulary: usize,
    /// Rows of logits: an encoder's are those of masked tokens.
    logits: usize,
}

const ENCODER: Sizes =
    Sizes { name: "encoder", batch: 32, seq: 32, hidden: 384, heads: 12, inner: 1536, vocabulary: 30_522, logits: 160 };
const DECODER: Sizes = Sizes {
    name: "decoder",
    batch: 4,
    seq: 256,
    hidden: 1024,
    heads: 16,
    inner: 2816,
    vocabulary: 32_000,
    logits: 256,
};

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let len = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..len).map(|at| ((at * 7919) % 10_007) as f32 / 10_007.0 - 0.5).collect();
    Tensor::<D>::from_data(TensorData::new(values, shape), &Device::flex()).autodiff().require_grad()
}

fn time<const D: usize>(criterion: &mut Criterion, group: &str, name: &str, op: impl Fn() -> Tensor<D>) {
    let mut group = criterion.benchmark_group(group);
    group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    // The backward pass that follows frees the graph, which only grows otherwise (Burn 0.22).
    group.bench_function(format!("forward/{name}"), |bencher: &mut Bencher<'_>| {
        bencher.iter_custom(|count| {
            let mut total = Duration::ZERO;
            for _ in 0..count {
                let start = Instant::now();
                let output = op();
                total += start.elapsed();
                black_box(output.backward());
            }
            total
        });
    });
    group.bench_function(format!("backward/{name}"), |bencher| {
        // From ones in place of a sum: the gradient is then whole in memory, as in a network.
        bencher.iter_batched(&op, |output| output.backward(), BatchSize::PerIteration);
    });
    group.finish();
}

fn against<const D: usize>(
    criterion: &mut Criterion,
    name: &str,
    sizes: Sizes,
    fused: impl Fn() -> Tensor<D>,
    composed: impl Fn() -> Tensor<D>,
) {
    let group = format!("{}, {name}", sizes.name);
    time(criterion, &group, "fused", fused);
    time(criterion, &group, "composed", composed);
}

fn linears(criterion: &mut Criterion, sizes: Sizes) {
    let Sizes { batch, seq, hidden, inner, .. } = sizes;
    let input = random([batch, seq, hidden]);
    let layer =
        Linear { weight: Param::from_tensor(random([hidden, inner])), bias: Some(Param::from_tensor(random([inner]))) };
    let composed = || {
        let product = input.clone().reshape([batch * seq, hidden]).matmul(layer.weight.val());
        product + layer.bias.as_ref().expect("it has one").val().unsqueeze()
    };
    against(criterion, "linear", sizes, || linear(&layer, input.clone()).reshape([batch * seq, inner]), composed);
    let fused = || linear_gelu(&layer, input.clone()).reshape([batch * seq, inner]);
    against(criterion, "linear and GELU", sizes, fused, || activation::gelu(composed()));
}

fn norms(criterion: &mut Criterion, sizes: Sizes) {
    let Sizes { batch, seq, hidden, .. } = sizes;
    let device = Device::flex().autodiff();
    let (input, residual) = (random([batch, seq, hidden]), random([batch, seq, hidden]));
    let (norm, dropout) = (LayerNorm::new(hidden, 1e-12, &device), Dropout::new(0.0));
    let layer = |x: Tensor<3>| {
        let centred = x.clone() - x.mean_dim(2);
        let variance = (centred.clone() * centred.clone()).mean_dim(2);
        let bias = norm.bias.as_ref().expect("it has one").val();
        centred / (variance + 1e-12).sqrt() * norm.weight.val().unsqueeze() + bias.unsqueeze()
    };
    against(criterion, "layer norm", sizes, || norm.forward(input.clone()), || layer(input.clone()));
    let fused = || norm.forward_residual(input.clone(), residual.clone(), &dropout);
    against(criterion, "add and layer norm", sizes, fused, || layer(input.clone() + residual.clone()));
    let norm = RmsNorm::new(hidden, 1e-6, &device);
    let root = |x: Tensor<3>| {
        let mean_square = (x.clone() * x.clone()).mean_dim(2);
        x / (mean_square + 1e-6).sqrt() * norm.weight.val().unsqueeze()
    };
    against(criterion, "RMS norm", sizes, || norm.forward(input.clone()), || root(input.clone()));
    // Both are read, as in a decoder's layer.
    let fused = || {
        let [sum, normal] = norm.forward_residual(input.clone(), residual.clone(), None);
        sum + normal
    };
    let composed = || {
        let sum = input.clone() + residual.clone();
        sum.clone() + root(sum)
    };
    against(criterion, "add and RMS norm", sizes, fused, composed);
}

fn activations(criterion: &mut Criterion, sizes: Sizes) {
    let Sizes { batch, seq, inner, .. } = sizes;
    let (gate, up) = (random([batch, seq, inner]), random([batch, seq, inner]));
    let both = random([batch, seq, 2 * inner]);
    let composed = |kind: Activation, x: Tensor<3>| match kind {
        Activation::Gelu => activation::gelu(x),
        Activation::GeluTanh => activation::gelu_approximate(x),
        _ => activation::silu(x),
    };
    for kind in [Activation::Silu, Activation::Gelu, Activation::GeluTanh] {
        let name = format!("{kind:?}");
        against(criterion, &name, sizes, || kind.forward(gate.clone()), || composed(kind, gate.clone()));
        let name = format!("gate of {kind:?}");
        let fused = || kind.gate(gate.clone(), up.clone());
        against(criterion, &name, sizes, fused, || composed(kind, gate.clone()) * up.clone());
    }
    let halves = || {
        let [gate, up] = [0, inner].map(|start| both.clone().narrow(2, start, inner));
        activation::silu(gate) * up
    };
    against(criterion, "gate of Silu in one tensor", sizes, || Activation::Silu.gate_halves(both.clone()), halves);
}

fn attentions(criterion: &mut Criterion, sizes: Sizes) {
    let Sizes { batch, seq, hidden, heads, .. } = sizes;
    let (width, half) = (hidden / heads, hidden / heads / 2);
    let input = random([batch, seq, hidden]);
    let split = || split_heads(input.clone(), heads);
    let rotary = Rotary::new(10_000.0, width, RopeScaling::None);
    let frequencies = rotary.frequencies(seq);
    let angles = (0..seq).flat_map(|place| frequencies.iter().map(move |frequency| place as f32 * frequency));
    let angles = TensorData::new(angles.collect::<Vec<f32>>(), [1, 1, seq, half]);
    let angles = Tensor::<4>::from_data(angles, &Device::flex());
    let (cos, sin) = (angles.clone().cos(), angles.sin());
    let composed = || {
        let [first, second] = [0, half].map(|start| split().narrow(3, start, half));
        let turned = first.clone() * cos.clone() - second.clone() * sin.clone();
        Tensor::cat(vec![turned, second * cos.clone() + first * sin.clone()], 3)
    };
    let fused = || rotary.rotation(seq, &Device::flex()).apply(split());
    against(criterion, "rotary positions", sizes, fused, composed);
    let (reach, dropout) = (if sizes.name == "decoder" { Reach::Back } else { Reach::Everywhere }, Dropout::new(0.0));
    let scoring = Scoring::of_width(width, reach);
    let places = (0..seq).flat_map(|query| (0..seq).map(move |key| if reach.sees(query, key) { 0.0 } else { -1e30 }));
    let hidden_ones = TensorData::new(places.collect::<Vec<f32>>(), [1, 1, seq, seq]);
    let hidden_ones = Tensor::<4>::from_data(hidden_ones, &Device::flex());
    let composed = || {
        let scores = split().matmul(split().swap_dims(2, 3)) / (width as f64).sqrt() + hidden_ones.clone();
        activation::softmax(scores, 3).matmul(split())
    };
    let fused = || {
        let visible = Tensor::<2, Bool>::full([batch, seq], true, &Device::flex());
        attend(split(), split(), split(), scoring, Some(visible), &dropout)
    };
    against(criterion, "attention", sizes, fused, composed);
}

fn others(criterion: &mut Criterion, sizes: Sizes) {
    let Sizes { batch, seq, hidden, vocabulary, logits, .. } = sizes;
    let input = random([batch, seq, hidden]);
    let dropout = Dropout::new(0.1);
    let fused = || {
        let _scope = RandomScope::new(1);
        dropout.forward(input.clone())
    };
    let composed = || {
        let draws =
            Tensor::<3>::random([batch, seq, hidden], burn::tensor::Distribution::Uniform(0.0, 1.0), &Device::flex());
        input.clone() * (draws.greater_elem(0.1).float() / 0.9)
    };
    against(criterion, "dropout", sizes, fused, composed);
    let scores = random([logits, vocabulary]);
    let labels = Tensor::<1, Int>::arange(0..logits as i64, &Device::flex());
    let composed = || {
        let chosen = activation::log_softmax(scores.clone(), 1).gather(1, labels.clone().reshape([logits, 1]));
        chosen.sum().neg()
    };
    against(criterion, "cross-entropy", sizes, || cross_entropy(scores.clone(), labels.clone()).sum, composed);
    drop(scores);
    let table = Embedding::new(random([vocabulary, hidden]), Some(0));
    let ids: Vec<i64> =
        (0..batch * seq).map(|at| if at % 8 == 0 { 0 } else { (at * 7919 % vocabulary) as i64 }).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [batch, seq]), &Device::flex());
    let composed = || {
        let output = burn::tensor::module::embedding(table.weight.val(), ids.clone());
        let is_padding = ids.clone().equal_elem(0).reshape([batch, seq, 1]).expand([batch, seq, hidden]);
        output.clone().mask_where(is_padding, output.detach())
    };
    against(criterion, "embedding with padding", sizes, || table.forward(ids.clone()), composed);
}

fn kernels(criterion: &mut Criterion) {
    for sizes in [ENCODER, DECODER] {
        for part in [linears, norms, activations, attentions, others] {
            part(criterion, sizes);
        }
    }
}

/// What stands before the network: texts become a batch, or a batch comes from the cache.
fn batches(criterion: &mut Criterion) {
    let device = Device::flex();
    let checkpoint = Checkpoint::open("assets/tiny-bert").expect("it is part of the repository");
    let examples = read_text("assets/intents/train.jsonl", &Columns::default()).expect("as is this");
    let labels = Labels::from_examples(&examples).expect("labels");
    let task = TextClassification::new(checkpoint.tokenizer().expect("a tokenizer"), labels, 64).expect("a task");
    let texts = &examples[..32];
    let rows = task.encode(texts).expect("rows").0;
    let rows: Vec<_> = rows.iter().collect();
    let draws = Draws::new(1, 0, &(0..32).collect::<Vec<_>>());
    criterion.bench_function("tokenise 32 texts", |bencher| bencher.iter(|| black_box(task.encode(texts))));
    criterion.bench_function("collate 32 texts", |bencher| {
        bencher.iter(|| black_box(task.batch(&rows, &draws, &device)));
    });
    let Sizes { batch, seq, hidden, .. } = ENCODER;
    let state = TextState::new(random([batch, seq, hidden]).inner(), Tensor::full([batch, seq], true, &device));
    let records = state.encode();
    let records: Vec<_> = records.iter().collect();
    criterion.bench_function("read 32 x 32 x 384 from the cache in memory", |bencher| {
        bencher.iter(|| black_box(TextState::decode(&state, &records)));
    });
}

criterion_group!(benches, kernels, batches);
criterion_main!(benches);
