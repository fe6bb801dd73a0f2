//! What mixtures of experts show besides what other text backbones do: how their routers chose.

use super::{Pooled, TextFeatures, TextState, Tied, Tokens};
use crate::rows::{Rows, RowsVisitor};
use burn::tensor::{Bool, Tensor};

/// Features of a mixture of experts.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no experts to balance",
    note = "this head needs a mixture of experts (`RoutedFeatures`)"
)]
pub trait Routed {
    /// How unevenly tokens fall to experts, `[1]`: 1 times the experts a token takes where it is even, more where not
    /// ([Fedus et al., 2021](https://arxiv.org/abs/2101.03961), equations 4 to 6); `None` where the network does not say.
    fn balance(&self) -> Option<Tensor<1>>;
}

/// The state of a mixture of experts.
#[derive(Clone, Debug)]
pub struct RoutedState {
    /// As in other text backbones.
    pub text: TextState,
    /// Logits of the routers of the layers so far, each `[batch, seq, experts]`, where they count in a loss.
    pub routing: Vec<Tensor<3>>,
}

impl Rows for RoutedState {
    fn each<V: RowsVisitor>(&mut self, visitor: &mut V) {
        self.text.each(visitor);
        let mask = self.text.mask.clone();
        visitor.padded(Some(&mask));
        self.routing.each(visitor);
        visitor.padded(None);
    }
}

/// Features of a mixture of experts.
#[derive(Clone, Debug)]
pub struct RoutedFeatures {
    /// As in other text backbones.
    pub text: TextFeatures,
    /// See [`Routed::balance`].
    pub balance: Option<Tensor<1>>,
}

impl Pooled for RoutedFeatures {
    fn pooled(&self) -> Tensor<2> {
        self.text.pooled()
    }
}

impl Tokens for RoutedFeatures {
    fn hidden(&self) -> Tensor<3> {
        self.text.hidden()
    }
    fn mask(&self) -> Option<Tensor<2, Bool>> {
        self.text.mask()
    }
}

impl Tied for RoutedFeatures {
    fn token_embedding(&self) -> Tensor<2> {
        self.text.token_embedding()
    }
}

impl Routed for RoutedFeatures {
    fn balance(&self) -> Option<Tensor<1>> {
        self.balance.clone()
    }
}
