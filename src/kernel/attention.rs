//! Scaled dot-product attention: heads are read where they stand, and memory is linear in the length, because the backward
//! pass makes the probabilities again. Keys that a block of queries does not reach cost nothing.

use super::buffer::{contiguous, tensor, values};
use super::dropout::Mask;
use super::head::{Head, Out, Pool, Shape};
use super::reuse::{Buffer, blank};
use super::tile::Table;
use crate::nn::{Documents, Draw, Reach};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{BoolTensor, FloatTensor};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Bool, Tensor};
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// What an attention is told besides its tensors.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    /// Heads of queries that stand side by side in `[batch, seq, hidden]`; inputs of rank 4 have an axis of them.
    pub(crate) heads: usize,
    /// What products of queries and keys are multiplied by.
    pub(crate) scale: f64,
    pub(crate) reach: Reach,
    /// A query sees the keys of its own document alone; there are as many queries as keys.
    pub(crate) documents: Option<Documents>,
    /// What dropout on the probabilities draws.
    pub(crate) draw: Option<Draw>,
}

/// Queries `[batch, queries, heads * width]` over keys and values `[batch, keys, heads * width]`, or `[batch, heads,
/// queries, width]` over `[batch, groups, keys, width]`. `visible`, `[batch, keys]`, is true where a key may be looked at.
/// Gives `[batch, queries, heads * width]`.
pub(crate) fn attention<const D: usize>(
    query: Tensor<D>,
    key: Tensor<D>,
    value: Tensor<D>,
    visible: Tensor<2, Bool>,
    attention: Attention,
) -> Tensor<3> {
    let (query, key, value) = (query.into_dispatch(), key.into_dispatch(), value.into_dispatch());
    Tensor::from_dispatch(Dispatch::fused_attention(query, key, value, visible.into_dispatch(), attention))
}

#[backend_extension(Flex, Autodiff)]
trait AttentionOps: Backend {
    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        visible: BoolTensor<Self>,
        attention: Attention,
    ) -> FloatTensor<Self>;
}

impl AttentionOps for Flex {
    fn fused_attention(
        query: FlexTensor,
        key: FlexTensor,
        value: FlexTensor,
        visible: FlexTensor,
        attention: Attention,
    ) -> FlexTensor {
        Inputs::new([query, key, value], visible, attention).forward().0
    }
}

impl<C: CheckpointStrategy> AttentionOps for Autodiff<Flex, C> {
    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        visible: BoolTensor<Self>,
        attention: Attention,
    ) -> FloatTensor<Self> {
        let ((query, query_node), (key, key_node)) = (query.into_parts(), key.into_parts());
        let (value, value_node) = value.into_parts();
        let inputs = Inputs::new([query, key, value], visible, attention);
        let (output, moments) = inputs.forward();
        match AttentionBackward.prepare::<C>([query_node, key_node, value_node]).compute_bound().stateful() {
            OpsKind::UnTracked(prep) => prep.finish(output),
            OpsKind::Tracked(prep) => prep.finish((inputs, moments), output),
        }
    }
}

#[derive(Debug)]
struct AttentionBackward;

impl Backward<Flex, 3> for AttentionBackward {
    type State = (Inputs, Vec<[f32; 2]>);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let (inputs, moments) = ops.state;
        let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
        let made = inputs.backward(&gradient, &moments);
        for ((node, made), input) in ops.parents.into_iter().zip(made).zip(&inputs.tensors) {
            if let Some(node) = node {
                gradients.register::<Flex>(node.id, tensor(made, input.shape()));
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Inputs {
    /// Query, key and value.
    tensors: [FlexTensor; 3],
    visible: FlexTensor,
    shape: Shape,
    attention: Attention,
}

impl Inputs {
    fn new(tensors: [FlexTensor; 3], visible: FlexTensor, attention: Attention) -> Self {
        let (tensors, visible) = (tensors.map(readable), contiguous(visible));
        let (query, key) = (tensors[0].shape(), tensors[1].shape());
        let shape = match (query.as_slice(), key.as_slice()) {
            (&[_, heads, queries, width], &[_, groups, keys, _]) => Shape { heads, groups, queries, keys, width },
            (query, key) => {
                let heads = attention.heads;
                Shape { heads, groups: heads, queries: query[1], keys: key[1], width: query[2] / heads }
            }
        };
        Self { tensors, visible, shape, attention }
    }

    /// The output and the softmax's moments of each query, `[batch, heads, queries]`.
    fn forward(&self) -> (FlexTensor, Vec<[f32; 2]>) {
        let Shape { heads, queries, width, .. } = self.shape;
        let batch = self.tensors[0].shape()[0];
        let mut out = blank(batch * queries * heads * width);
        let mut moments = vec![[0.0; 2]; batch * heads * queries];
        let pool = Pool::new(self.shape);
        let rows = out.par_chunks_mut(queries * heads * width).zip(moments.par_chunks_mut(heads * queries));
        rows.enumerate().for_each(|(row, (out, moments))| {
            let parts = side_by_side(out, heads, width).into_par_iter().zip(moments.par_chunks_mut(queries));
            parts.enumerate().for_each(|(head, (out, moments))| {
                pool.with(|scratch| scratch.forward(self.head(row, head), out, moments));
            });
        });
        (tensor(out, [batch, queries, heads * width].into()), moments)
    }

    /// The gradients of query, key and value.
    fn backward(&self, gradient: &FlexTensor, moments: &[[f32; 2]]) -> [Buffer; 3] {
        let Shape { heads, groups, queries, keys, width } = self.shape;
        let pool = Pool::new(self.shape);
        let mut made = [0, 1, 2].map(|index| blank(self.tensors[index].shape().num_elements()));
        let [query, key, value] = &mut made;
        let (per_query, per_key) = (queries * heads * width, keys * groups * width);
        let key_and_value = key.par_chunks_mut(per_key).zip(value.par_chunks_mut(per_key));
        let rows = query.par_chunks_mut(per_query).zip(key_and_value).zip(moments.par_chunks(heads * queries));
        rows.enumerate().for_each(|(row, ((query, (key, value)), moments))| {
            let of_a_group = heads / groups;
            let [key, value] = [key, value].map(|part| self.split(part, groups).into_par_iter());
            let query = in_groups(self.split(query, heads), of_a_group).into_par_iter();
            let parts = query.zip(key.zip(value)).zip(moments.par_chunks(of_a_group * queries));
            parts.enumerate().for_each(|(group, ((query, (key, value)), moments))| {
                pool.with(|scratch| {
                    scratch.begin();
                    for (index, (query, moments)) in query.into_iter().zip(moments.chunks(queries)).enumerate() {
                        let head = group * of_a_group + index;
                        let start = row * per_query + head * width;
                        let gradient = Table { values: &values(gradient)[start..], stride: heads * width };
                        scratch.backward(self.head(row, head), gradient, moments, query);
                    }
                    scratch.finish(key, value);
                });
            });
        });
        made
    }

    fn head(&self, row: usize, head: usize) -> Head<'_> {
        let Shape { heads, groups, queries, keys, .. } = self.shape;
        let group = head / (heads / groups);
        let [query, key, value] = &self.tensors;
        Head {
            query: self.part(query, row, head),
            key: self.part(key, row, group),
            value: self.part(value, row, group),
            visible: &self.visible.storage::<u8>()[row * keys..(row + 1) * keys],
            scale: self.attention.scale as f32,
            reach: self.attention.reach,
            places: self.attention.documents.as_ref().map(|documents| documents.row(row)),
            dropout: self.attention.draw.map(|draw| (Mask::new(draw), (row * heads + head) * queries * keys)),
        }
    }

    /// A head's `[seq, width]` within a [`readable`] tensor.
    fn part<'a>(&self, tensor: &'a FlexTensor, row: usize, head: usize) -> Table<'a> {
        let layout = tensor.layout();
        let stride = |axis: usize| layout.strides()[axis].unsigned_abs();
        let (of_head, of_place) =
            if layout.num_dims() == 4 { (stride(1), stride(2)) } else { (self.shape.width, stride(1)) };
        let start = layout.start_offset() + row * stride(0) + head * of_head;
        Table { values: &tensor.storage::<f32>()[start..], stride: of_place }
    }

    /// A row of the batch in the order of the inputs, by heads.
    fn split<'a>(&self, row: &'a mut [f32], heads: usize) -> Vec<Out<'a>> {
        let width = self.shape.width;
        match self.tensors[0].shape().num_dims() {
            4 => row.chunks_exact_mut(row.len() / heads).map(|head| head.chunks_exact_mut(width).collect()).collect(),
            _ => side_by_side(row, heads, width),
        }
    }
}

/// The same tensor with rows of the last axis whole and in order in its buffer.
fn readable(tensor: FlexTensor) -> FlexTensor {
    let (strides, shape) = (tensor.layout().strides(), tensor.shape());
    let last = shape.num_dims() - 1;
    let places = strides[last - 1];
    let rows_are_whole =
        strides[last] == 1 && strides.iter().all(|stride| *stride >= 0) && places >= shape[last] as isize;
    if rows_are_whole { tensor } else { contiguous(tensor) }
}

/// `[seq, heads * width]` by heads.
fn side_by_side(rows: &mut [f32], heads: usize, width: usize) -> Vec<Out<'_>> {
    let mut parts: Vec<Out<'_>> = (0..heads).map(|_| Vec::new()).collect();
    for row in rows.chunks_exact_mut(heads * width) {
        for (head, part) in parts.iter_mut().zip(row.chunks_exact_mut(width)) {
            head.push(part);
        }
    }
    parts
}

fn in_groups(heads: Vec<Out<'_>>, of_a_group: usize) -> Vec<Vec<Out<'_>>> {
    let mut heads = heads.into_iter();
    std::iter::from_fn(|| {
        let group: Vec<Out<'_>> = heads.by_ref().take(of_a_group).collect();
        if group.is_empty() { None } else { Some(group) }
    })
    .collect()
}
