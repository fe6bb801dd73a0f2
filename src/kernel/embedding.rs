//! Looking vectors up in a table.

use super::buffer::{add_rows, block, contiguous, indices, tensor, values};
use super::reuse::blank;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, Shape, TensorMetadata, backend_extension};
use burn::tensor::{Int, Tensor};
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// Rows `[batch, seq]` of a table `[entries, hidden]`, `[batch, seq, hidden]`. Row `padding` gets no gradient.
pub(crate) fn embedding(table: Tensor<2>, ids: Tensor<2, Int>, padding: Option<usize>) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::fused_embedding(table.into_dispatch(), ids.into_dispatch(), padding))
}

#[backend_extension(Flex, Autodiff)]
trait EmbeddingOps: Backend {
    fn fused_embedding(table: FloatTensor<Self>, ids: IntTensor<Self>, padding: Option<usize>) -> FloatTensor<Self>;
}

impl EmbeddingOps for Flex {
    fn fused_embedding(table: FlexTensor, ids: FlexTensor, _: Option<usize>) -> FlexTensor {
        let shape = ids.shape();
        forward(&contiguous(table), &indices(ids), shape)
    }
}

impl<C: CheckpointStrategy> EmbeddingOps for Autodiff<Flex, C> {
    fn fused_embedding(table: FloatTensor<Self>, ids: IntTensor<Self>, padding: Option<usize>) -> FloatTensor<Self> {
        let (table, node) = table.into_parts();
        let (table, shape, ids) = (contiguous(table), ids.shape(), indices(ids));
        let output = forward(&table, &ids, shape);
        match EmbeddingBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::UnTracked(prep) => prep.finish(output),
            OpsKind::Tracked(prep) => prep.finish(Saved { ids, table: table.shape(), padding }, output),
        }
    }
}

#[derive(Debug)]
struct EmbeddingBackward;

#[derive(Clone, Debug)]
struct Saved {
    ids: Vec<usize>,
    /// The table's shape.
    table: Shape,
    padding: Option<usize>,
}

impl Backward<Flex, 1> for EmbeddingBackward {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
        let Saved { ids, table, padding } = ops.state;
        let (width, gradient) = (table[1], values(&gradient));
        let mut places: Vec<usize> = (0..ids.len()).filter(|place| Some(ids[*place]) != padding).collect();
        // A stable sort: a row's gradients are added in the order of their places.
        places.sort_by_key(|place| ids[*place]);
        let (mut out, rows) = (blank(table.num_elements()), block(width) / width);
        out.par_chunks_mut(rows * width).enumerate().for_each(|(index, out)| {
            out.fill(0.0);
            let first = index * rows;
            let start = places.partition_point(|place| ids[*place] < first);
            for place in places[start..].iter().take_while(|place| ids[**place] < first + rows) {
                let row = (ids[*place] - first) * width;
                add_rows(&gradient[place * width..][..width], &mut out[row..row + width]);
            }
        });
        if let [Some(node)] = ops.parents {
            gradients.register::<Flex>(node.id, tensor(out, table));
        }
    }
}

fn forward(table: &FlexTensor, ids: &[usize], mut shape: Shape) -> FlexTensor {
    let (table, width) = (values(table), table.shape()[1]);
    let mut out = blank(ids.len() * width);
    out.par_chunks_mut(block(width)).zip(ids.par_chunks(block(width) / width)).for_each(|(out, ids)| {
        for (out, id) in out.chunks_exact_mut(width).zip(ids) {
            out.copy_from_slice(&table[id * width..][..width]);
        }
    });
    shape.insert(2, width);
    tensor(out, shape)
}
