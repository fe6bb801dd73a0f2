use super::{Reach, Rotary};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use std::ops::Range;
use std::sync::Arc;

/// Which keys a query may look at, besides its [`Reach`].
#[derive(Clone, Debug, Default)]
#[allow(clippy::large_enum_variant)] // There is one a layer, for as long as it runs.
pub enum Visible {
    /// All of them.
    #[default]
    All,
    /// Those that this is true for, `[batch, keys]`.
    Real(Tensor<2, Bool>),
    /// Those of its own document. There are as many queries as keys.
    Documents(Documents),
}

impl From<Option<Tensor<2, Bool>>> for Visible {
    fn from(real: Option<Tensor<2, Bool>>) -> Self {
        real.map_or(Self::All, Self::Real)
    }
}

impl Visible {
    /// The documents of packed rows, `[batch, seq]` as [`Documents::new`] reads them, or else the real tokens of rows that
    /// are one text each.
    pub fn of(mask: &Tensor<2, Bool>, documents: Option<&Tensor<2, Int>>) -> Self {
        documents.map_or_else(|| Self::Real(mask.clone()), |documents| Self::Documents(Documents::new(documents)))
    }

    /// True where a query may look, broadcast to `[batch, 1, queries, keys]`; `None` where it may everywhere. Queries are the
    /// last places of the keys.
    pub(super) fn mask(
        &self,
        reach: Reach,
        [batch, queries, keys]: [usize; 3],
        device: &Device,
    ) -> Option<Tensor<4, Bool>> {
        let first = keys.saturating_sub(queries);
        let sees = |rows: usize, inside: &dyn Fn(usize, usize) -> Range<usize>| {
            let places = (0..rows).flat_map(|row| (first..keys).map(move |query| (row, query)));
            let of_query = |(row, query)| {
                let span = inside(row, query);
                (0..keys).map(move |key| span.contains(&key) && reach.sees(query, key))
            };
            let sees: Vec<bool> = places.flat_map(of_query).collect();
            Tensor::<4, Bool>::from_data(TensorData::new(sees, [rows, 1, queries, keys]), device)
        };
        let reached = || reach.hides(keys).then(|| sees(1, &|_, _| 0..keys));
        match self {
            Self::All => reached(),
            Self::Real(real) => {
                let real = real.clone().unsqueeze_dims::<4>(&[1, 2]);
                let shape = [batch, 1, queries, keys];
                Some(match reached() {
                    Some(reached) => real.expand(shape).bool_and(reached.expand(shape)),
                    None => real,
                })
            }
            Self::Documents(documents) => Some(sees(batch, &|row, query| documents.span(row, query))),
        }
    }

    /// Turns queries and keys, `[batch, heads, seq, width]`, by their places, which are counted in each document from 0.
    pub fn rotate(&self, rotary: &Rotary, inputs: [Tensor<4>; 2]) -> [Tensor<4>; 2] {
        let device = inputs[0].device().inner();
        match self {
            Self::Documents(documents) => {
                let rotation = rotary.rotation(documents.longest().max(1), &device);
                let rotation = rotation.of_places(&documents.positions(&device));
                inputs.map(|input| rotation.apply(input))
            }
            _ => {
                let rotation = rotary.rotation(inputs[0].dims()[2], &device);
                inputs.map(|input| rotation.apply(input))
            }
        }
    }
}

/// Which places of packed rows belong together: a document is a run of places, and so is padding.
#[derive(Clone, Debug)]
pub struct Documents {
    places: Arc<[Place]>,
    seq: usize,
}

/// What a place belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The first place of its document, and the first after it.
    pub(crate) span: [u32; 2],
    /// Its place in the document; 0 in padding.
    position: u32,
}

impl Documents {
    /// From `[batch, seq]`, where each run of one number other than 0 is a document, and 0 is padding.
    pub fn new(documents: &Tensor<2, Int>) -> Self {
        let [_, seq] = documents.dims();
        let ids: Vec<i64> = documents.to_data().iter::<i64>().collect();
        let places =
            ids.chunks(seq.max(1)).flat_map(|row| row.chunk_by(|one, next| one == next).scan(0, run)).flatten();
        Self { places: places.collect(), seq }
    }

    /// Tokens of the longest document; 1 where all is padding.
    pub fn longest(&self) -> usize {
        self.places.iter().map(|place| place.position as usize + 1).max().unwrap_or(0)
    }

    /// The place of each token in its document, `[batch, seq]`; 0 in padding.
    pub fn positions(&self, device: &Device) -> Tensor<2, Int> {
        let positions: Vec<i64> = self.places.iter().map(|place| i64::from(place.position)).collect();
        Tensor::from_data(TensorData::new(positions, [self.places.len() / self.seq.max(1), self.seq]), device)
    }

    /// The places of a row.
    #[cfg(feature = "flex")]
    pub(crate) fn row(&self, row: usize) -> &[Place] {
        &self.places[row * self.seq..(row + 1) * self.seq]
    }

    /// The places of the document that a place is in.
    fn span(&self, row: usize, place: usize) -> Range<usize> {
        let [start, end] = self.places[row * self.seq + place].span;
        start as usize..end as usize
    }
}

/// The places of a run of equal numbers that begins at `start`, which then is where the next one begins.
fn run(start: &mut u32, run: &[i64]) -> Option<Vec<Place>> {
    let span = [*start, *start + run.len() as u32];
    *start = span[1];
    let position = |place: u32| if run[0] == 0 { 0 } else { place - span[0] };
    Some((span[0]..span[1]).map(|place| Place { span, position: position(place) }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Dropout, Init, RopeScaling, Scoring, attend, attend_composed, test_device};
    use burn::tensor::Tolerance;

    fn documents(ids: [[i64; 6]; 2]) -> Documents {
        Documents::new(&Tensor::from_data(ids, &test_device()))
    }

    #[test]
    fn runs_are_documents_and_zeros_are_padding() {
        let documents = documents([[1, 1, 1, 2, 0, 0], [7, 3, 3, 3, 3, 7]]);
        let spans: Vec<Range<usize>> = (0..6).map(|place| documents.span(1, place)).collect();
        assert_eq!(spans, [0..1, 1..5, 1..5, 1..5, 1..5, 5..6]);
        assert_eq!((documents.span(0, 3), documents.span(0, 5), documents.longest()), (3..4, 4..6, 4));
        let positions: Vec<i64> = documents.positions(&test_device()).into_data().iter::<i64>().collect();
        assert_eq!(positions, [0, 1, 2, 0, 0, 0, 0, 0, 1, 2, 3, 0]);
    }

    #[test]
    fn each_document_is_attended_and_turned_as_if_it_stood_alone() {
        let device = test_device();
        let mut init = Init::new(9, 1.0, &device);
        let [query, key, value] = [4, 2, 2].map(|heads| init.normal([2, heads, 6, 5]));
        let rotary = Rotary::new(100.0, 4, RopeScaling::None);
        let visible = Visible::Documents(documents([[1, 1, 1, 2, 0, 0], [1, 2, 2, 2, 2, 3]]));
        for reach in [Reach::Everywhere, Reach::Within(1), Reach::Back, Reach::BackWithin(2)] {
            let scoring = Scoring::of_width(5, reach);
            let run = |visible: &Visible, tensors: [Tensor<4>; 3], composed: bool| {
                let [query, key, value] = tensors;
                let [query, key] = visible.rotate(&rotary, [query, key]);
                let (visible, dropout) = (visible.clone(), Dropout::new(0.0));
                match composed {
                    true => attend_composed(query, key, value, scoring, visible, &dropout),
                    false => attend(query, key, value, scoring, visible, &dropout),
                }
            };
            for composed in [false, true] {
                let whole = run(&visible, [query.clone(), key.clone(), value.clone()], composed);
                for (row, start, length) in [(0, 0, 3), (0, 3, 1), (1, 0, 1), (1, 1, 4), (1, 5, 1)] {
                    let part = |tensor: &Tensor<4>| tensor.clone().narrow(0, row, 1).narrow(2, start, length);
                    let alone = run(&Visible::All, [&query, &key, &value].map(part), composed);
                    let tolerance = Tolerance::absolute(2e-6);
                    part(&whole).into_data().assert_approx_eq::<f32>(&alone.into_data(), tolerance);
                }
            }
        }
    }
}
