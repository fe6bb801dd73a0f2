use crate::backbone::{Maps, Pooled};
use burn::tensor::Tensor;

/// What flows between the stages of a network that makes ever coarser maps of an image.
#[derive(Clone, Debug)]
pub struct MapState {
    /// The map now, `[batch, channels, height, width]`; Swin keeps it as `[batch, height, width, channels]`.
    pub map: Tensor<4>,
    /// What each group of layers so far made, finest first; empty where a head reads pooled features alone.
    pub maps: Vec<Tensor<4>>,
    /// What a norm made of the pooled map, `[batch, channels]`; `None` before it and where there is none.
    pub pooled: Option<Tensor<2>>,
}
crate::rows!(MapState { map, maps, pooled });

impl MapState {
    /// The state after the embeddings: a map `[batch, channels, height, width]`.
    pub fn new(map: Tensor<4>) -> Self {
        Self { map, maps: vec![], pooled: None }
    }
}

/// Features of backbones that make maps.
#[derive(Clone, Debug)]
pub struct MapFeatures {
    /// The last map, `[batch, channels, height, width]`.
    pub map: Tensor<4>,
    /// What each group of layers made, finest first.
    pub maps: Vec<Tensor<4>>,
    /// One vector a row, `[batch, channels]`.
    pub pooled: Tensor<2>,
}

impl Pooled for MapFeatures {
    fn pooled(&self) -> Tensor<2> {
        self.pooled.clone()
    }
}

impl Maps for MapFeatures {
    fn maps(&self) -> &[Tensor<4>] {
        &self.maps
    }
}

/// The mean over height and width, which stay as axes of 1: `[batch, channels, 1, 1]`.
pub(crate) fn mean_map(map: Tensor<4>) -> Tensor<4> {
    map.mean_dim(3).mean_dim(2)
}

/// Which layer of which group stage `index` runs, for groups of these many layers after stage 0; `None` after the last.
pub(crate) fn place(groups: impl Iterator<Item = usize>, index: usize) -> Option<(usize, usize)> {
    let mut layer = index.checked_sub(1)?;
    for (group, count) in groups.enumerate() {
        match layer < count {
            true => return Some((group, layer)),
            false => layer -= count,
        }
    }
    None
}

/// The probabilities with which the branches of `layers` layers are left out: from 0 to `most`, the deeper the more often.
pub(crate) fn drop_path_rates(most: f64, layers: usize) -> Vec<f64> {
    (0..layers).map(|layer| most * layer as f64 / layers.saturating_sub(1).max(1) as f64).collect()
}
