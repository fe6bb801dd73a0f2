//! [`TaskHead`]: what is put on a backbone for a task.

mod causal_lm;
mod choice;
mod classify;
mod contrastive;
mod distilled;
mod embedder;
mod label;
mod masked_lm;
mod number;
mod pair;
mod places;
mod pretraining;
mod projection;
mod replaced;
mod routed_lm;
mod row_loss;
mod seq2seq_lm;
mod span;
mod token;
mod transform;
mod two_classifiers;

pub use crate::loss::{Loss, cross_entropy};
pub use causal_lm::CausalLm;
pub use choice::MultipleChoice;
pub use classify::Classifier;
pub use contrastive::{Contrastive, Similarities};
pub use distilled::{DistilledClassifier, DistilledTargets};
pub use embedder::{PairLoss, SentenceEmbedder};
pub use label::{LabelLoss, MultiLabel};
pub use masked_lm::{MaskedLm, MaskedTargets};
pub use number::{NumberLoss, Regressor};
pub use pair::PairClassifier;
pub use pretraining::{Pretraining, PretrainingTargets};
pub use projection::Projection;
pub use replaced::ReplacedToken;
pub use routed_lm::RoutedCausalLm;
pub use row_loss::RowLoss;
pub use seq2seq_lm::Seq2SeqLm;
pub use span::{SpanHead, SpanLogits, SpanTargets};
pub use token::{IGNORED, TokenClassifier};
pub use transform::Transform;
pub use two_classifiers::{TwoClassifiers, TwoLogits, TwoTargets};

use crate::backbone::InputError;
use crate::metric::Scores;
use burn::module::{Module, ModuleDisplay};
use burn::tensor::{Int, Tensor};
use std::fmt::Debug;

/// A part on top of features `F`: output and loss.
#[diagnostic::on_unimplemented(
    message = "the head `{Self}` cannot read the features `{F}`",
    label = "this head does not fit this backbone",
    note = "a head asks for what it needs of the features: `Pooled`, `Tokens`, `Tied`, `Maps`; the backbone's `Features` lacks one of them"
)]
pub trait TaskHead<F>: Module + ModuleDisplay {
    /// What `forward` gives.
    type Output;
    /// What the loss compares with.
    type Targets: Clone + Debug + Send + 'static;
    /// Whether the loss of one row depends on the others (contrastive losses): gradient accumulation would change its
    /// meaning, so `fit` refuses it.
    const COUPLED: bool = false;
    /// Whether all that it reads of the features is [`Pooled::pooled`](crate::backbone::Pooled::pooled): a backbone then
    /// leaves out what its pooling does not read ([`Backbone::stage_pooled`](crate::backbone::Backbone::stage_pooled)).
    const POOLED_ONLY: bool = false;

    /// Says whether the loss can compare with `targets`; `fit` and `evaluate` ask before they run it.
    ///
    /// # Errors
    /// [`InputError`], such as a class that the head does not have.
    fn check(&self, _targets: &Self::Targets) -> Result<(), InputError> {
        Ok(())
    }

    /// Features to output.
    fn forward(&self, features: F) -> Self::Output;

    /// The summed loss and what it is divided by. From features, not from the output: a masked-LM head projects the
    /// masked places only.
    fn loss(&self, features: F, targets: Self::Targets) -> Loss;

    /// The loss of two passes over the same rows whose dropout differs, with `alpha` times how far apart their answers are
    /// ([R-Drop](crate::loss::ClassLoss::r_drop)); `None` for heads that cannot tell.
    fn r_drop(&self, _first: F, _second: F, _targets: Self::Targets, _alpha: f64) -> Option<Loss> {
        None
    }

    /// What training depends on besides parameters, such as the kind of loss: a run goes on only under the same.
    fn settings(&self) -> String {
        String::new()
    }

    /// Adds what a batch shows to `scores`; the loss alone, unless a head knows more.
    fn score(&self, features: F, targets: Self::Targets, scores: &mut Scores) {
        let loss = self.loss(features, targets);
        scores.add_loss(loss.sum.into_scalar::<f32>() as f64, loss.weight);
    }
}

/// The most probable class of each row of `[rows, classes]`.
pub(crate) fn argmax(logits: Tensor<2>) -> Vec<usize> {
    logits.argmax(1).into_data().iter::<i64>().map(|class| class as usize).collect()
}

/// Class indices `[rows]` on the host.
pub(crate) fn indices(labels: Tensor<1, Int>) -> Vec<usize> {
    labels.into_data().iter::<i64>().map(|class| class as usize).collect()
}
