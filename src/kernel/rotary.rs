//! Rotary positions in one pass, heads read where they stand. The bits are those of the composed operations.

use super::buffer::{block, contiguous, values};
use super::reuse::blank;
use super::simd::vectorised;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, DType, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::Tensor;
use burn_flex::{FlexTensor, Layout};
use rayon::prelude::*;

/// Turns the first values of each head of `[batch, heads, seq, width]`: value `i` with value `i + half` by the angle whose
/// cosine and sine stand in tables of `[batch or 1, 1, seq, half]`. The heads of the result stand side by side in memory.
/// Tables pass no gradient.
pub(crate) fn rotate(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::fused_rotate(x.into_dispatch(), cos.into_dispatch(), sin.into_dispatch()))
}

#[backend_extension(Flex, Autodiff)]
trait RotaryOps: Backend {
    fn fused_rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl RotaryOps for Flex {
    fn fused_rotate(x: FlexTensor, cos: FlexTensor, sin: FlexTensor) -> FlexTensor {
        Tables::new(cos, sin).turned(x, 1.0)
    }
}

impl<C: CheckpointStrategy> RotaryOps for Autodiff<Flex, C> {
    fn fused_rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        let tables = Tables::new(cos.into_primitive(), sin.into_primitive());
        let (x, node) = x.into_parts();
        let output = tables.turned(x, 1.0);
        match RotateBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::UnTracked(prep) => prep.finish(output),
            OpsKind::Tracked(prep) => prep.finish(tables, output),
        }
    }
}

#[derive(Debug)]
struct RotateBackward;

impl Backward<Flex, 1> for RotateBackward {
    type State = Tables;

    fn backward(self, ops: Ops<Tables, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        if let [Some(node)] = ops.parents {
            // The gradient turns back.
            gradients.register::<Flex>(node.id, ops.state.turned(gradient, -1.0));
        }
    }
}

#[derive(Clone, Debug)]
struct Tables {
    cos: FlexTensor,
    sin: FlexTensor,
}

impl Tables {
    fn new(cos: FlexTensor, sin: FlexTensor) -> Self {
        Self { cos: contiguous(cos), sin: contiguous(sin) }
    }

    /// Turned by the angles times `sign`, 1 or -1.
    fn turned(&self, x: FlexTensor, sign: f32) -> FlexTensor {
        let x = whole_rows(x);
        let [batch, heads, seq, width] = x.shape().dims();
        let [rows, _, _, half] = self.cos.shape().dims();
        let strides = x.layout().strides();
        let input = Heads {
            values: &x.storage::<f32>()[x.layout().start_offset()..],
            strides: [0, 1, 2].map(|axis: usize| strides[axis].unsigned_abs()),
            heads,
            seq,
            width,
        };
        let angles = Angles { cos: values(&self.cos), sin: values(&self.sin), sign, rows, half };
        let place = heads * width;
        let mut out = blank(batch * seq * place);
        let blocks = out.par_chunks_mut(block(place)).enumerate();
        blocks.for_each(|(index, out)| turn_places(input, angles, index * (block(place) / place), out));
        let layout = Layout::new(x.shape(), [seq * place, width, place, 1].map(|stride| stride as isize).to_vec(), 0);
        FlexTensor::new(out.into_bytes(), layout, DType::F32)
    }
}

/// The same tensor with rows of the last axis whole and in order in its buffer.
fn whole_rows(tensor: FlexTensor) -> FlexTensor {
    let strides = tensor.layout().strides();
    let are_whole = strides[3] == 1 && strides.iter().all(|stride| *stride >= 0);
    if are_whole { tensor } else { contiguous(tensor) }
}

/// Where the heads of an input stand.
#[derive(Clone, Copy)]
struct Heads<'a> {
    values: &'a [f32],
    /// Of batch, head and place.
    strides: [usize; 3],
    heads: usize,
    seq: usize,
    width: usize,
}

#[derive(Clone, Copy)]
struct Angles<'a> {
    cos: &'a [f32],
    sin: &'a [f32],
    /// What sines are multiplied by.
    sign: f32,
    /// How many rows of the batch have angles of their own; 1 if all have the same.
    rows: usize,
    half: usize,
}

vectorised! {
    /// Writes all heads of the places from `first` on, counted over the batch.
    fn turn_places<'a, S>(input: Heads<'a>, angles: Angles<'a>, first: usize, out: &'a mut [f32]) {
        let (Heads { values, strides: [of_row, of_head, of_place], heads, seq, width }, half) = (input, angles.half);
        for (index, out) in out.chunks_exact_mut(heads * width).enumerate() {
            let (row, place) = ((first + index) / seq, (first + index) % seq);
            let at = (row % angles.rows * seq + place) * half;
            let (cos, sin) = (&angles.cos[at..at + half], &angles.sin[at..at + half]);
            for (head, out) in out.chunks_exact_mut(width).enumerate() {
                let input = &values[row * of_row + head * of_head + place * of_place..][..width];
                let (turning, rest) = input.split_at(2 * half);
                let (turned, out_rest) = out.split_at_mut(2 * half);
                let (a, b) = turning.split_at(half);
                let (out_a, out_b) = turned.split_at_mut(half);
                let pairs = a.iter().zip(b).zip(cos.iter().zip(sin));
                for ((out_a, out_b), ((a, b), (cos, sin))) in out_a.iter_mut().zip(out_b).zip(pairs) {
                    let sin = angles.sign * sin;
                    *out_a = a * cos - b * sin;
                    *out_b = b * cos + a * sin;
                }
                out_rest.copy_from_slice(rest);
            }
        }
    }
}
