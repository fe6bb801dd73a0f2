//! Times a six-layer BERT encoder (MiniLM's sizes) in training and inference, and its single operations.
//!
//! `cargo bench --bench encoder -- --quick`; once more with `REKINDLE_KERNELS=off` for Burn's own operations.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use criterion::{BatchSize, Bencher, Criterion, criterion_group, criterion_main};
use rekindle::Model;
use rekindle::backbone::{Bert, BertConfig, Pooling, TextInput, TextState};
use rekindle::head::{Classifier, TaskHead, cross_entropy};
use rekindle::nn::{Dropout, LayerNorm, Linear, RandomScope, linear, linear_gelu, multi_head_attention};
use rekindle::optim::{AdamW, Averager, Averaging, GradientNorms, Optimizer, Update};
use rekindle::rows::RowsExt;
use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

const BATCH: usize = 32;
const SEQ: usize = 32;
const HIDDEN: usize = 384;

type Classification = Model<Bert, Classifier>;

fn model(device: &Device) -> Classification {
    let config = BertConfig {
        vocab_size: 1000,
        hidden_size: HIDDEN,
        num_hidden_layers: 6,
        num_attention_heads: 12,
        intermediate_size: 4 * HIDDEN,
        ..BertConfig::default()
    };
    Model::new(Bert::new(&config, Pooling::Mean, 0, device), Classifier::new(HIDDEN, 24, 0, device))
}

fn input(device: &Device) -> (TextInput, Tensor<1, Int>) {
    let ids: Vec<i64> = (0..BATCH * SEQ).map(|at| (at * 37 % 999) as i64).collect();
    let ids = Tensor::from_data(TensorData::new(ids, [BATCH, SEQ]), device);
    let labels: Vec<i64> = (0..BATCH).map(|row| (row % 24) as i64).collect();
    let mask = Tensor::<2, Bool>::full([BATCH, SEQ], true, device);
    let input = TextInput { type_ids: ids.zeros_like(), ids, mask, documents: None };
    (input, Tensor::from_data(TensorData::new(labels, [BATCH]), device))
}

fn loss(model: &Classification, input: TextInput, labels: Tensor<1, Int>) -> Tensor<1> {
    model.head.loss(model.features(input), labels).sum
}

fn encoder(criterion: &mut Criterion) {
    let device = Device::flex();
    let plain = model(&device);
    let training = plain.clone().train();
    let (input, labels) = input(&device);
    let mut group = criterion.benchmark_group("encoder");
    group.sample_size(12);
    group.bench_function("infer", |bencher| {
        bencher.iter(|| black_box(plain.forward(input.clone()).into_data()));
    });
    let forward = || loss(&training, input.clone(), labels.clone());
    group.bench_function("forward", |bencher| time_forward(bencher, forward));
    group.bench_function("backward", |bencher| {
        bencher.iter_batched(forward, |loss| loss.backward(), BatchSize::PerIteration);
    });
    group.bench_function("forward with dropout", |bencher| {
        time_forward(bencher, || {
            let _scope = RandomScope::new(1);
            forward()
        });
    });
    let gradients = || GradientsParams::from_grads(forward().backward(), &training);
    let update = Update { lr: 1e-4, weight_decay: 0.01 };
    let updates: HashMap<u64, Update> =
        burn::module::list_param_ids(&training).into_iter().map(|id| (id.val(), update)).collect();
    let mut optimizer = Optimizer::new(AdamW::default());
    group.bench_function("optimizer step", |bencher| {
        let step = |gradients| {
            black_box(GradientNorms::of(&training, &gradients).total());
            optimizer.step(plain.clone(), gradients, &updates, 1.0)
        };
        bencher.iter_batched(gradients, step, BatchSize::PerIteration);
    });
    let mut averager = Averager::new(Some(Averaging::ema(0.999)), 1);
    averager.update(&plain, 1, |_| true);
    let mut step = 1;
    group.bench_function("moving average", |bencher| {
        bencher.iter(|| {
            step += 1;
            averager.update(&plain, step, |_| true);
        });
    });
    group.finish();
}

/// Times a forward pass alone. The backward pass that follows it frees the graph, which only grows otherwise (Burn 0.22).
fn time_forward(bencher: &mut Bencher<'_>, op: impl Fn() -> Tensor<1>) {
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
}

/// Times the forward pass of `op` and the backward pass of its sum.
fn both<const D: usize>(criterion: &mut Criterion, name: &str, op: impl Fn() -> Tensor<D>) {
    let mut group = criterion.benchmark_group(name);
    group.bench_function("forward", |bencher| time_forward(bencher, || op().sum()));
    group.bench_function("backward", |bencher| {
        bencher.iter_batched(|| op().sum(), |sum| sum.backward(), BatchSize::PerIteration);
    });
    group.finish();
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let len = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..len).map(|at| ((at * 7919) % 10_007) as f32 / 10_007.0 - 0.5).collect();
    Tensor::<D>::from_data(TensorData::new(values, shape), &Device::flex()).autodiff().require_grad()
}

fn operations(criterion: &mut Criterion) {
    let device = Device::flex().autodiff();
    let hidden = random([BATCH, SEQ, HIDDEN]);
    let layer = |width: usize| Linear {
        weight: Param::from_tensor(random([HIDDEN, width])),
        bias: Some(Param::from_tensor(random([width]))),
    };
    let (narrow, wide) = (layer(HIDDEN), layer(4 * HIDDEN));
    both(criterion, "linear 384 to 384", || linear(&narrow, hidden.clone()));
    both(criterion, "linear 384 to 1536", || linear(&wide, hidden.clone()));
    both(criterion, "linear 384 to 1536 and GELU", || linear_gelu(&wide, hidden.clone()));
    let (norm, dropout) = (LayerNorm::new(HIDDEN, 1e-12, &device), Dropout::new(0.1));
    both(criterion, "add and norm", || norm.forward_residual(hidden.clone(), hidden.clone(), &dropout));
    both(criterion, "drop, add and norm", || {
        let _scope = RandomScope::new(1);
        norm.forward_residual(hidden.clone(), hidden.clone(), &dropout)
    });
    for (batch, seq) in [(32, 32), (8, 128), (2, 512)] {
        let input = random([batch, seq, HIDDEN]);
        both(criterion, &format!("attention {batch} x {seq}"), || {
            let mask = Tensor::<2, Bool>::full([batch, seq], true, &Device::flex());
            multi_head_attention(input.clone(), input.clone(), input.clone(), 12, Some(mask), &dropout)
        });
    }
    let logits = random([256, 8192]);
    let labels = Tensor::<1, Int>::arange(0..256, &Device::flex());
    both(criterion, "cross-entropy 256 x 8192", || cross_entropy(logits.clone(), labels.clone()).sum);
}

/// What a step pays for a batch from the cache: to be compared with `encoder/infer`, which it saves.
fn cache_read(criterion: &mut Criterion) {
    let device = Device::flex();
    let hidden = random([BATCH, SEQ, HIDDEN]).inner();
    let state = TextState::new(hidden, Tensor::full([BATCH, SEQ], true, &device));
    let records = state.encode();
    let records: Vec<_> = records.iter().collect();
    criterion.bench_function("cache read 32 x 32 from memory", |bencher| {
        bencher.iter(|| black_box(TextState::decode(&state, &records)));
    });
}

criterion_group!(benches, encoder, operations, cache_read);
criterion_main!(benches);
